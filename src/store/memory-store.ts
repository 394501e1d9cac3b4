import { parseManifest } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";
import { chooseManifest } from "./choose-manifest.ts";
import { memoryBlobs } from "./memory-blobs.ts";
import { readJsonBlob } from "./read-blob.ts";
import { nameNotFound } from "./read-model.ts";
import type { BlobRef, Names, Store, Tag } from "./store.ts";

/** Makes an empty store in memory. */
export function memoryStore({ createDigest }: { readonly createDigest: CreateDigest }): Store {
  const tags = new Map<string, Digest>();
  const findNeeded = async (): Promise<Set<Digest>> => {
    const needed = new Set(tags.values());
    for (const digest of tags.values()) {
      const manifest = parseManifest(await readJsonBlob(store, digest), `manifest ${digest}`);
      for (const blob of manifestBlobs(manifest)) needed.add(blob.digest);
    }
    return needed;
  };
  const store: Store = {
    name: "memory",
    createDigest,
    blobs: memoryBlobs({ createDigest, findNeeded }),
    names: memoryNames(tags, () => store),
  };
  return store;
}

function memoryNames(tags: Map<string, Digest>, store: () => Store): Names {
  let last: Promise<unknown> = Promise.resolve();
  /** Runs changes one after the other, so that the state that a change checks does not change before it ends. */
  const inTurn = <T>(change: () => Promise<T>): Promise<T> => {
    const result = last.then(change);
    last = result.catch(() => undefined);
    return result;
  };
  const list = (): Tag[] =>
    [...tags].map(([name, digest]) => ({ name, digest })).sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    list: async () => list(),
    resolve: async (name) => tags.get(name),
    tag: (name, model, options = {}) =>
      inTurn(async () => {
        options.signal?.throwIfAborted();
        const has = (blob: BlobRef): Promise<boolean> => store().blobs.has(blob);
        const context = { store: store(), taken: tags.get(name), isPresent: has, isWhole: has };
        const digest = await chooseManifest(context, name, model, options);
        tags.set(name, digest);
        return digest;
      }),
    untag: (names) =>
      inTurn(async () => {
        for (const name of names) if (!tags.has(name)) throw nameNotFound(store().name, name, list());
        for (const name of names) tags.delete(name);
      }),
  };
}
