import { LinkError, SourceError, TareError } from "../../errors.ts";
import type { ReadOptions } from "../../io/byte-source.ts";
import type { LinkManifest } from "../../formats/mlir/link-manifest.ts";
import { listModels } from "../../store/read-model.ts";
import type { Store } from "../../store/store.ts";
import type { Location } from "../../model/manifest.ts";
import { modelWeights } from "../../model/stored-model.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { OpenWeights } from "../../weights/open-weights.ts";
import { rangeWeights } from "../../weights/range.ts";
import { mlirBlobs } from "./mlir-blobs.ts";
import { openMlir } from "./open.ts";

/** Opens the store when it is needed. */
export type OpenStore = () => Promise<Store>;

/**
 * Opens the weights that the manifest of a thin file leads to: plain bytes, of no type.
 * @returns those that are there
 * @throws LinkError `missing-weight` for a file that cannot be read; SourceError `source-changed`
 */
export async function openLinkedWeights(
  manifest: LinkManifest,
  thin: string,
  store: Store | OpenStore,
  options: ReadOptions,
): Promise<OpenWeights> {
  const { path } = manifest.file;
  return path === undefined
    ? linkedInStore(manifest, typeof store === "function" ? await store() : store)
    : linkedInFile(path, manifest, thin, options);
}

/** The store is asked by digest: the model may have another name by now. */
async function linkedInStore({ file, weights }: LinkManifest, store: Store): Promise<OpenWeights> {
  const locations = await locationsOf(store, file.model);
  const places = [...weights].flatMap(([key, { length, alignment, digest }]) => {
    const location = digest === undefined ? undefined : locations.get(digest);
    if (!location || location.length !== length) return [];
    const layout = { dtype: "uint8" as const, shape: [length], digest, alignment };
    const { blob, offset } = location;
    return [{ key, layout, path: blob, offset, length, source: () => store.blobs.open(blob) }];
  });
  const source = rangeWeights(`store: ${file.model ?? "?"}`, places);
  return { ...source, [Symbol.asyncDispose]: async () => undefined };
}

/** Where the store has the bytes of every weight: first those of the model named, then those of all others. */
async function locationsOf(store: Store, name: string | undefined): Promise<Map<Digest, Location>> {
  const models = await listModels(store);
  models.sort((a, b) => Number(b.name === name) - Number(a.name === name));
  const locations = new Map<Digest, Location>();
  for (const model of models) {
    for (const { digest } of modelWeights(model.config)) {
      const location = model.locations.get(digest);
      if (location && !locations.has(digest)) locations.set(digest, location);
    }
  }
  return locations;
}

/**
 * The file must still be MLIR that has each key where the thin file says: a thin file may come from anywhere, and no
 * other file that it names may get into what is written.
 */
async function linkedInFile(
  path: string,
  { file, weights }: LinkManifest,
  thin: string,
  options: ReadOptions,
): Promise<OpenWeights> {
  const mlir = await openMlir(path, options).catch((cause: unknown) => {
    if (!(cause instanceof TareError)) throw cause;
    throw new LinkError(
      "missing-weight",
      `Cannot attach the weights of "${thin}": "${path}" cannot be read`,
      { path, cause, hint: "Name the place that has them now: --from FILE" },
    );
  });
  const blobs = mlirBlobs(mlir);
  const offsets = new Map(mlir.blobs.map(({ key, offset }) => [key, offset]));
  const { size, modified } = mlir.source.identity;
  const changed = size !== file.size || modified !== file.modified;
  const keyOf = (key: string): string => weights.get(key)?.at?.key ?? key;
  return {
    name: blobs.name,
    keys: () => [...weights.keys()].filter((key) => offsets.has(keyOf(key))),
    layout(key) {
      const weight = weights.get(key);
      const found = blobs.layout(keyOf(key));
      if (!weight || !found) return undefined;
      // A weight that was hashed is known again; another one only by its place in an unchanged file.
      const moved = offsets.get(keyOf(key)) !== weight.at?.offset || found.length !== weight.length;
      if (weight.digest === undefined && (changed || moved)) throw wasChanged(path, key);
      return { ...found, alignment: weight.alignment, digest: weight.digest };
    },
    open: (key, reading) => blobs.open(keyOf(key), reading),
    [Symbol.asyncDispose]: () => mlir[Symbol.asyncDispose](),
  };
}

function wasChanged(path: string, tensor: string): SourceError {
  return new SourceError(
    "source-changed",
    `Cannot attach "${tensor}": "${path}" changed since it was detached`,
    {
      path,
      tensor,
      hint: "Detach with --hash to know weights again, or name another place: --from FILE",
    },
  );
}
