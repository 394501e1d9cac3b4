import { LinkError } from "../../errors.ts";
import type { Weight } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { Location } from "../../model/manifest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { WeightFile } from "../../model/weight-file.ts";
import type { SplitPart } from "./split-rules.ts";

/** A file of weights of a split. */
export interface SplitWeightFile {
  /** Relative to the split's folder, as all paths here. */
  readonly path: string;
  readonly part: SplitPart;
  /** Names of those that need it. */
  readonly models: readonly string[];
  readonly weights: readonly Weight[];
  readonly file: WeightFile;
}

/** A small file of a split: a program, an index, a companion. */
export interface SplitTextFile {
  readonly path: string;
  readonly models: readonly string[];
  readonly bytes: Uint8Array;
}

/** A name under which an engine finds a file of the split. */
export interface SplitLink {
  readonly path: string;
  /** Path of the file. */
  readonly target: string;
}

/** The files of a split: plain data, made before anything is written. */
export interface SplitLayout {
  /** The foundation first. */
  readonly weightFiles: readonly SplitWeightFile[];
  readonly written: readonly SplitTextFile[];
  readonly links: readonly SplitLink[];
}

/** What files of a model are called: its name, as far as a path allows it. */
export function fileNameOf(model: StoredModel): string {
  return model.name.replaceAll("/", "_");
}

/**
 * Where the store has a weight.
 * @throws LinkError `missing-weight`
 */
export function placeOf(model: StoredModel, { name, digest }: Weight): { digest: Digest; from: Location } {
  const from = model.locations.get(digest);
  if (from) return { digest, from };
  throw new LinkError("missing-weight", `Cannot split "${model.name}": weight "${name}" is nowhere`, {
    tensor: name,
    digest,
  });
}
