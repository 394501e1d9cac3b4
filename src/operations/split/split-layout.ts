import type { Weight } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import { locationOf } from "../../model/location-of.ts";
import type { Location } from "../../model/manifest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { WeightFile } from "../../model/weight-file.ts";
import type { SplitPart } from "./split-rules.ts";

/** A weight file of a split. */
export interface SplitWeightFile {
  /** Relative to the split's folder, as all paths in this file. */
  readonly path: string;
  readonly part: SplitPart;
  /** Names of the models that need it. */
  readonly models: readonly string[];
  readonly weights: readonly Weight[];
  readonly file: WeightFile;
}

/** A small file of a split: a program, an index or a companion. */
export interface SplitTextFile {
  readonly path: string;
  readonly models: readonly string[];
  readonly bytes: Uint8Array;
}

/** A link with the name under which an engine looks for a file of the split. */
export interface SplitLink {
  readonly path: string;
  /** Path of the file that the link points to. */
  readonly target: string;
}

/** The files of a split, as plain data, before they are written. */
export interface SplitLayout {
  /** The foundation comes first. */
  readonly weightFiles: readonly SplitWeightFile[];
  readonly written: readonly SplitTextFile[];
  readonly links: readonly SplitLink[];
}

/** Name of a model in file names: slashes become underscores. */
export function fileNameOf(model: StoredModel): string {
  return model.name.replaceAll("/", "_");
}

/**
 * Finds the location of a weight in the store.
 * @throws LinkError `missing-weight`
 */
export function placeOf(model: StoredModel, { name, digest }: Weight): { digest: Digest; from: Location } {
  return { digest, from: locationOf(model, digest, { doing: `split "${model.name}"`, weight: name }) };
}
