import { configJson, type ModelConfig } from "../model/config.ts";
import { type Descriptor, type Location, type Manifest, MediaType } from "../model/manifest.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StoredManifest } from "./store.ts";
import type { Transaction } from "./transaction.ts";

/** What a manifest is made of. */
export interface ManifestDraft {
  /** One that the store has already is given as its descriptor. */
  readonly config: ModelConfig | Descriptor;
  /** The blobs of weights and rests, in the order that the manifest has them. */
  readonly layers: readonly Descriptor[];
  /** Where weights lie that have no blob of their own. */
  readonly inside: ReadonlyMap<Digest, Location>;
  /** What else the manifest says; that of a new model unless given. */
  readonly base?: Manifest;
}

const NEW_MODEL = { schemaVersion: 2, mediaType: MediaType.manifest, artifactType: MediaType.model } as const;

/** Stores the documents of a model whose blobs are stored: config, table of locations, manifest. */
export async function putManifest(
  transaction: Transaction,
  { config, layers, inside, base }: ManifestDraft,
): Promise<StoredManifest> {
  const weights = [...inside].map(([digest, location]) => ({ digest, ...location }));
  const table = weights.length > 0 ? [await transaction.put(MediaType.locations, { weights })] : [];
  const manifest: Manifest = {
    ...(base ?? NEW_MODEL),
    config: "digest" in config ? config : await transaction.put(MediaType.config, configJson(config)),
    layers: [...layers, ...table],
  };
  return { manifest, descriptor: await transaction.put(MediaType.manifest, manifest) };
}
