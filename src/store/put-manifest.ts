import { configJson, type ModelConfig } from "../model/config.ts";
import { type Descriptor, type Location, type Manifest, MediaType, REF_NAME } from "../model/manifest.ts";
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
  /** Name of the model; a model without a name has none. */
  readonly name?: string | undefined;
}

const NEW_MODEL = { schemaVersion: 2, mediaType: MediaType.manifest, artifactType: MediaType.model } as const;

/** Stores the documents of a model: config, table of locations, manifest. The layers must be stored before. */
export async function putManifest(
  transaction: Transaction,
  { config, layers, inside, base, name }: ManifestDraft,
): Promise<StoredManifest> {
  const weights = [...inside].map(([digest, location]) => ({ digest, ...location }));
  const table = weights.length > 0 ? [await transaction.put(MediaType.locations, { weights })] : [];
  const unnamed: Manifest = {
    ...(base ?? NEW_MODEL),
    config: "digest" in config ? config : await transaction.put(MediaType.config, configJson(config)),
    layers: [...layers, ...table],
  };
  const manifest = name === undefined ? unnamed : namedManifest(unnamed, name);
  return { manifest, descriptor: await transaction.put(MediaType.manifest, manifest) };
}

/** Returns a manifest that has the name of its model. */
export function namedManifest(manifest: Manifest, name: string): Manifest {
  return { ...manifest, annotations: { ...manifest.annotations, [REF_NAME]: name } };
}
