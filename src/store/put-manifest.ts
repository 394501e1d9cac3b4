import { configJson, type ModelConfig } from "../model/config.ts";
import { type Descriptor, type Location, type Manifest, MediaType } from "../model/manifest.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StoredManifest } from "./store.ts";
import type { Transaction } from "./transaction.ts";

/** Input of {@link putManifest}. */
export interface ManifestDraft {
  /** The config, or the descriptor of a config that the store has. */
  readonly config: ModelConfig | Descriptor;
  /** Layers of weights and skeletons, in the order of the manifest. */
  readonly layers: readonly Descriptor[];
  /** Locations of weights inside bundles and shards. */
  readonly inside: ReadonlyMap<Digest, Location>;
  /** Manifest whose other fields are kept; those of a new model unless given. */
  readonly base?: Manifest;
}

const NEW_MODEL = { schemaVersion: 2, mediaType: MediaType.manifest, artifactType: MediaType.model } as const;

/** Stores the documents of a model: config, table of locations, manifest. The layers must be stored before. */
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
