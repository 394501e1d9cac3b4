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

/** Opens the store on first use. */
export type OpenStore = () => Promise<Store>;

/**
 * Opens the weights that the manifest of a thin file records, as bytes without a type.
 * @returns the weights that exist
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

/** Finds weights by digest, because the model may have another name now. */
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

/** Locations of all weights of the store. Those of the given model take precedence. */
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
 * Opens weights in an MLIR file. The file must still be MLIR with each key at its recorded offset: a thin file may come
 * from an untrusted source, and must not copy arbitrary files of this machine into the output.
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
      { path, cause, hint: "Give the file that has the weights now: --from FILE" },
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
      // attach checks a weight with a digest. A weight without one is identified by its offset in an unchanged file.
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
      hint: "Detach the file again, with --hash so that weights can be checked, or give other weights: --from FILE",
    },
  );
}
