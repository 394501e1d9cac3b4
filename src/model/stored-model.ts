import type { ModelConfig, StoredFile, Weight } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { Descriptor, Location, Manifest } from "./manifest.ts";

/** A model of the store: what it is (config) and where its bytes lie (manifest). */
export interface StoredModel {
  readonly name: string;
  /** Of its manifest. */
  readonly digest: Digest;
  readonly manifest: Manifest;
  readonly config: ModelConfig;
  /** Where a weight's bytes lie, by its digest. */
  readonly locations: ReadonlyMap<Digest, Location>;
}

/** Everything of a model that the store keeps by digest: weights, and constants of other files. */
export function modelWeights(config: ModelConfig): Weight[] {
  return config.methods.flatMap((method) => [...method.weights, ...method.constants]);
}

/** Every blob that a manifest needs. */
export function manifestBlobs(manifest: Manifest): Descriptor[] {
  return [manifest.config, ...manifest.layers];
}

/** Files that are neither a program nor external data: they go with a model as they are. */
export function companionsOf(model: Pick<StoredModel, "config">): StoredFile[] {
  const programs = new Set(model.config.methods.map((method) => method.file));
  return model.config.files.filter((file, index) => !programs.has(index) && file.holes.length === 0);
}
