import { StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobSource, BlobStore } from "../store/blob-store.ts";
import { openFileSource } from "../node/file-source.ts";
import { missingBlob, readBlob, requireBlob, statBlob } from "./blobs.ts";
import { findTag, listTags, removeTag, type Tag } from "./tags.ts";
import { openStoreFolder, type StorePaths } from "./store-paths.ts";
import { withLock } from "./lock.ts";
import { isWholeSync } from "./commit-blob.ts";
import { readStoredModel } from "./read-model.ts";

/** A store in a folder: an OCI image layout whose names are models. */
export class FileStore implements BlobStore {
  readonly layout: StorePaths;

  private constructor(layout: StorePaths) {
    this.layout = layout;
  }

  /**
   * Opens the store in a folder; makes one where there is nothing.
   * @throws StoreError `not-a-store`; FormatError `newer-version`
   */
  static async open(root: string): Promise<FileStore> {
    return new FileStore(await openStoreFolder(root));
  }

  /** The models' names, and the manifests that they stand for at this moment. */
  async tags(): Promise<Tag[]> {
    return listTags(this.layout);
  }

  /** Whether a model has a name. */
  async has(name: string): Promise<boolean> {
    return (await this.tags()).some((tag) => tag.name === name);
  }

  /** @throws StoreError `not-found`, `missing-blob`, `corrupted` */
  async model(name: string): Promise<StoredModel> {
    return steady(async () => {
      return this.read(await findTag(this.layout, name));
    });
  }

  /**
   * The model that a name stands for now: not read again where that is the one given, which its digest says.
   * @throws what {@link model} throws
   */
  async current(model: StoredModel): Promise<StoredModel> {
    const { digest } = await findTag(this.layout, model.name);
    return digest === model.digest ? model : this.model(model.name);
  }

  /** Reads what a tag stands for. */
  read(tag: Tag): Promise<StoredModel> {
    return readStoredModel(this.layout, tag.name, tag.digest);
  }

  /**
   * Uses a model, and once more where its bytes were laid out anew meanwhile, so that blobs were gone.
   * @throws StoreError `not-found`, `missing-blob`, `corrupted`; what `use` throws
   */
  async withModel<T>(name: string, use: (model: StoredModel) => Promise<T>): Promise<T> {
    return this.withModels([name], ([model]) => use(model as StoredModel));
  }

  /** Uses several models, as {@link withModel} uses one. */
  async withModels<T>(
    names: readonly string[],
    use: (models: readonly StoredModel[]) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const models = await Promise.all(names.map((name) => this.model(name)));
      try {
        return await use(models);
      } catch (error) {
        const tags = await Promise.all(names.map((name) => findTag(this.layout, name))).catch(
          () => undefined,
        );
        const moved = tags?.some((tag, index) => tag.digest !== models[index]?.digest);
        if (!moved || attempt === 5) throw error;
      }
    }
  }

  async models(): Promise<StoredModel[]> {
    return steady(async () => {
      const tags = await listTags(this.layout);
      return Promise.all(tags.map((tag) => this.read(tag)));
    });
  }

  /** Takes names away; their blobs stay until they are collected. All or none. */
  async remove(names: readonly string[]): Promise<void> {
    await withLock(this.layout, async (assertHeld) => {
      for (const name of names) await findTag(this.layout, name);
      assertHeld();
      for (const name of names) await removeTag(this.layout, name);
    });
  }

  readBlob(digest: Digest): Promise<Uint8Array> {
    return readBlob(this.layout, digest);
  }

  async openBlob(digest: Digest): Promise<BlobSource> {
    if (await statBlob(this.layout, digest)) return openFileSource(this.layout.blob(digest));
    throw missingBlob(`blob ${digest}`, { path: this.layout.blob(digest), digest });
  }

  /**
   * Makes sure that every weight of a model may be handed to an engine: there, whole, unchanged since it was hashed.
   * @param full hash each byte now
   * @throws StoreError `missing-blob`, `corrupted`, naming the weight
   */
  async requireModel(model: StoredModel, full = false, signal?: AbortSignal): Promise<void> {
    const tensors = new Map<Digest, string>();
    for (const method of model.config.methods)
      for (const { digest, name } of method.weights) tensors.set(digest, name);
    for (const { digest, size } of model.manifest.layers) {
      // The common case, without a trip through the thread pool: a thousand blobs are looked at in milliseconds.
      if (!full && isWholeSync(this.layout.blob(digest), size)) continue;
      const tensor = tensors.get(digest);
      await requireBlob(this.layout, digest, size, { full, signal, ...(tensor !== undefined && { tensor }) });
    }
  }
}

/** Between reading names and manifests another process may remove or move a model: then the names are read again. */
async function steady<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "missing-blob" || attempt === 5) throw error;
    }
  }
}
