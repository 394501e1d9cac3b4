import { LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { Location } from "./manifest.ts";
import type { StoredModel } from "./stored-model.ts";

/** Facts for the error of {@link locationOf}. */
export interface LocationUse {
  /** What needs the weight: `link "base"`. */
  readonly doing: string;
  /** Name of the weight; its digest unless given. */
  readonly weight?: string | undefined;
  readonly path?: string | undefined;
  /** Offset in that file, in bytes. */
  readonly offset?: number | undefined;
}

/**
 * Finds the location of a weight.
 * @throws LinkError `missing-weight`
 */
export function locationOf(
  { locations }: Pick<StoredModel, "locations">,
  digest: Digest,
  { doing, weight, path, offset }: LocationUse,
): Location {
  const location = locations.get(digest);
  if (location) return location;
  const called = weight === undefined ? digest : `"${weight}"`;
  throw new LinkError("missing-weight", `Cannot ${doing}: weight ${called} has no location in the manifest`, {
    path,
    tensor: weight,
    digest,
    offset,
  });
}
