import { type Descriptor, MediaType, parseManifest, REF_NAME } from "../model/manifest.ts";
import { chooseManifest } from "../store/choose-manifest.ts";
import { readJsonBlob } from "../store/read-blob.ts";
import { nameNotFound } from "../store/read-model.ts";
import type { BlobRef, Names, StoredManifest, Tag, TagOptions } from "../store/store.ts";
import type { Digest } from "../tensor/digest.ts";
import { changeIndex } from "./change-index.ts";
import { isWholeSync } from "./commit-blob.ts";
import { folderReader } from "./open-blob.ts";
import { isPresent } from "./seal.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";

/** A name that moves to another manifest of the same model. */
export interface TagMove {
  readonly name: string;
  readonly from: Digest;
  readonly to: StoredManifest;
}

/** The names in a store's `index.json`. Keeps entries of other OCI tools, but does not list them. */
export class LocalNames implements Names {
  readonly #paths: StorePaths;

  constructor(paths: StorePaths) {
    this.#paths = paths;
  }

  async list(): Promise<Tag[]> {
    return listTags(this.#paths, (await readIndex(this.#paths)).manifests);
  }

  async resolve(name: string): Promise<Digest | undefined> {
    const entry = (await readIndex(this.#paths)).manifests.find((each) => nameOf(each) === name);
    return entry && (await isModel(this.#paths, entry)) ? entry.digest : undefined;
  }

  /** Finds the size of a manifest in bytes, which `index.json` has; 0 if no name refers to it. */
  async manifestSize(digest: Digest): Promise<number> {
    return (await readIndex(this.#paths)).manifests.find((each) => each.digest === digest)?.size ?? 0;
  }

  async tag(name: string, model: StoredManifest, options: TagOptions = {}): Promise<Digest> {
    const paths = this.#paths;
    options.signal?.throwIfAborted();
    return changeIndex(paths, async ({ manifests }) => {
      const taken = manifests.find((each) => nameOf(each) === name);
      const context = {
        store: { ...folderReader(paths), name: paths.root },
        taken: taken?.digest,
        isPresent: (blob: BlobRef) => isPresent(paths, blob),
        isWhole: async ({ digest, size }: BlobRef) => isWholeSync(paths.blob(digest), size),
      };
      const result = await chooseManifest(context, name, model, options);
      if (result === taken?.digest) return { result };
      const others = manifests.filter((each) => each !== taken);
      return { result, manifests: [...others, entryOf(name, model)] };
    });
  }

  async untag(names: readonly string[]): Promise<void> {
    const paths = this.#paths;
    await changeIndex(paths, async ({ manifests }) => {
      const tags = await listTags(paths, manifests);
      const taken = new Set(tags.map((tag) => tag.name));
      for (const name of names) if (!taken.has(name)) throw nameNotFound(paths.root, name, tags);
      return {
        result: undefined,
        manifests: manifests.filter((each) => !names.includes(nameOf(each) ?? "")),
      };
    });
  }

  /**
   * Moves names to other manifests of the same models, all or none.
   * @returns `false` if a blob is missing or a name no longer refers to the manifest that it moves from
   */
  async move(moves: readonly TagMove[]): Promise<boolean> {
    const paths = this.#paths;
    return changeIndex(paths, async ({ manifests }) => {
      for (const { to } of moves) {
        for (const blob of [to.descriptor, to.manifest.config, ...to.manifest.layers]) {
          if (!(await isPresent(paths, blob))) return { result: false };
        }
      }
      const wanted = new Map(moves.map((move) => [move.name, move]));
      const moved = manifests.map((each) => {
        const move = wanted.get(nameOf(each) ?? "");
        if (!move || move.from !== each.digest) return each;
        wanted.delete(move.name);
        return entryOf(move.name, move.to);
      });
      return wanted.size > 0 ? { result: false } : { result: true, manifests: moved };
    });
  }
}

async function listTags(paths: StorePaths, manifests: readonly Descriptor[]): Promise<Tag[]> {
  const tags: Tag[] = [];
  for (const descriptor of manifests) {
    const name = nameOf(descriptor);
    if (name !== undefined && (await isModel(paths, descriptor)))
      tags.push({ name, digest: descriptor.digest });
  }
  return tags.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function isModel(paths: StorePaths, { artifactType, mediaType, digest }: Descriptor): Promise<boolean> {
  if (artifactType !== undefined) return artifactType === MediaType.model;
  if (mediaType !== MediaType.manifest) return false;
  // A client that copied the model may have dropped artifactType from the index: read the manifest. Treat an unreadable
  // manifest as a model, so that reading the model reports the error.
  try {
    const document = await readJsonBlob(folderReader(paths), digest);
    return parseManifest(document, `manifest ${digest}`).config.mediaType === MediaType.config;
  } catch {
    return true;
  }
}

function nameOf({ annotations }: Descriptor): string | undefined {
  return annotations?.[REF_NAME];
}

/** Makes the entry of `index.json` that gives a manifest a name. */
export function entryOf(name: string, { descriptor }: Pick<StoredManifest, "descriptor">): Descriptor {
  return { ...descriptor, artifactType: MediaType.model, annotations: { [REF_NAME]: name } };
}
