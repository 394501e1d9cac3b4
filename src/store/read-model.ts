import { StoreError, TareError } from "../errors.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { type Location, type Manifest, MediaType, parseLocations, parseManifest } from "../model/manifest.ts";
import { modelWeights, type StoredModel } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { readJsonBlob } from "./read-blob.ts";
import type { BlobReader, Store, Tag } from "./store.ts";

/** Number of attempts: another process may remove or repack a model between the reads of its name and its blobs. */
const MAX_ATTEMPTS = 5;

/**
 * Reads the model that a name refers to now.
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`; FormatError `malformed`, `newer-version`
 */
export async function readModel(store: Store, name: string): Promise<StoredModel> {
  return readSteadily(async () => readTagged(store, await findTag(store, name)));
}

/**
 * Reads all models of a store, sorted by name.
 * @throws the errors of {@link readModel}
 */
export async function listModels(store: Store): Promise<StoredModel[]> {
  return readSteadily(async () => {
    const tags = await store.names.list();
    return Promise.all(tags.map((tag) => readTagged(store, tag)));
  });
}

/** A model of a store that cannot be read. */
export interface DamagedModel extends Tag {
  readonly error: TareError;
}

/** Reads all models of a store, sorted by name, and those that cannot be read as errors. */
export async function listReadable(store: Store): Promise<(StoredModel | DamagedModel)[]> {
  const tags = await store.names.list();
  const all = tags.map(async (tag) => {
    return readModel(store, tag.name).catch((error: unknown) => {
      if (!(error instanceof TareError)) throw error;
      // Another process removed the model.
      return error.code === "not-found" ? undefined : { ...tag, error };
    });
  });
  return (await Promise.all(all)).filter((each) => each !== undefined);
}

/**
 * Reads the model that the name of `model` refers to now; returns `model` if its manifest is current.
 * @throws the errors of {@link readModel}
 */
export async function currentModel(store: Store, model: StoredModel): Promise<StoredModel> {
  const { digest } = await findTag(store, model.name);
  return digest === model.digest ? model : readModel(store, model.name);
}

/**
 * Finds a model by name.
 * @throws StoreError `not-found`, with names of the store in the hint
 */
export async function findTag(store: Store, name: string): Promise<Tag> {
  const digest = await store.names.resolve(name);
  if (digest !== undefined) return { name, digest };
  throw nameNotFound(store.name, name, await store.names.list());
}

/** Makes the error for a name that no model has. */
export function nameNotFound(path: string, name: string, tags: readonly Tag[]): StoreError {
  const names = tags.slice(0, 10).map((each) => each.name);
  const hint =
    names.length > 0
      ? `Use a name of the store: ${names.join(", ")}${tags.length > 10 ? ", …" : ""}`
      : "The store is empty: add a model with tare add FILES";
  return new StoreError("not-found", `Cannot find model "${name}" in the store`, { path, hint });
}

/**
 * Reads a model's manifest, config and locations, checks each against its digest, and checks that they agree.
 * @throws StoreError `missing-blob`, `corrupted`; FormatError `malformed`, `newer-version`
 */
export async function readTagged(store: BlobReader, { name, digest }: Tag): Promise<StoredModel> {
  const manifest = parseManifest(await readJsonBlob(store, digest), `manifest of "${name}"`);
  const config = parseConfig(await readJsonBlob(store, manifest.config.digest), `config of "${name}"`);
  const locations = await readLocations(store, name, manifest);
  const unplaced = findUnplaced(config, manifest, locations);
  if (unplaced) {
    await using source = await store.blobs.open(digest);
    throw new StoreError(
      "corrupted",
      `Cannot read model "${name}": weight "${unplaced.name}" has no location in the manifest`,
      {
        path: source.name,
        tensor: unplaced.name,
        digest: unplaced.digest,
        offset: locations.get(unplaced.digest)?.offset,
        hint: "Add the model's files again: the manifest is damaged",
      },
    );
  }
  return { name, digest, manifest, config, locations };
}

/** Reads the location of each weight: the blob of the weight, or an entry of a table. */
async function readLocations(
  store: BlobReader,
  name: string,
  manifest: Manifest,
): Promise<Map<Digest, Location>> {
  const locations = new Map<Digest, Location>();
  for (const { mediaType, digest, size } of manifest.layers) {
    if (mediaType === MediaType.weight) {
      locations.set(digest, { blob: digest, offset: 0, length: size });
    } else if (mediaType === MediaType.locations) {
      const table = parseLocations(await readJsonBlob(store, digest), `locations of "${name}"`);
      for (const [weight, location] of table) locations.set(weight, location);
    }
  }
  return locations;
}

/** Finds the first weight whose location is missing, or not inside of a layer of the manifest. */
function findUnplaced(
  config: ModelConfig,
  manifest: Manifest,
  locations: ReadonlyMap<Digest, Location>,
): ReturnType<typeof modelWeights>[number] | undefined {
  const sizes = new Map(manifest.layers.map((layer) => [layer.digest, layer.size]));
  return modelWeights(config).find(({ dtype, shape, digest }) => {
    const location = locations.get(digest);
    const size = location && sizes.get(location.blob);
    if (!location || size === undefined) return true;
    return location.length !== tensorBytes(dtype, shape) || location.offset > size - location.length;
  });
}

async function readSteadily<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "missing-blob" || attempt === MAX_ATTEMPTS)
        throw error;
    }
  }
}
