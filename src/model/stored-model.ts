import type { ModelConfig, StoredFile, Weight } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { Descriptor, Location, Manifest } from "./manifest.ts";

/** A model of a store: its description (config), and the locations of its bytes (manifest). */
export interface StoredModel {
  readonly name: string;
  /** Digest of the manifest. */
  readonly digest: Digest;
  readonly manifest: Manifest;
  readonly config: ModelConfig;
  /** Location of each weight, by digest. */
  readonly locations: ReadonlyMap<Digest, Location>;
}

/** Lists the tensors of a model that the store keeps by digest: weights, and constants in other files. */
export function modelWeights(config: ModelConfig): Weight[] {
  return config.methods.flatMap((method) => [...method.weights, ...method.constants]);
}

/** Lists every blob that a manifest needs. */
export function manifestBlobs(manifest: Manifest): Descriptor[] {
  return [manifest.config, ...manifest.layers];
}

/** Lists the files of a model that are neither programs nor external data: they are stored without holes. */
export function companionsOf(model: Pick<StoredModel, "config">): StoredFile[] {
  const programs = new Set(model.config.methods.map((method) => method.file));
  return model.config.files.filter((file, index) => !programs.has(index) && file.holes.length === 0);
}
