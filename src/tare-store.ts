import { type AddResult, addModel } from "./local-store/add.ts";
import { addMoving, type MoveOptions } from "./local-store/add-moving.ts";
import { defaultStorePath } from "./local-store/default-path.ts";
import { type ExportOptions, type ExportResult, exportModel } from "./local-store/export.ts";
import { collect, type GcOptions, type GcResult } from "./local-store/gc.ts";
import { LocalStore } from "./local-store/local-store.ts";
import { isUnfinished } from "./local-store/move-journal.ts";
import { type StoreStatus, storeStatus } from "./local-store/status.ts";
import { type OpenFolderOptions, openStoreFolder } from "./local-store/open-store-folder.ts";
import { requireOwnFolders } from "./local-store/own-folders.ts";
import { type VerifyOptions, type VerifyResult, verifyStore } from "./local-store/verify.ts";
import { openModel } from "./node/open-model.ts";
import { type ModelSummary, summarizeModels } from "./operations/summarize-models.ts";
import { readModel } from "./store/read-model.ts";
import { requireModel } from "./store/require-model.ts";
import { withModel } from "./store/with-model.ts";
import type { WeightRef } from "./weights/open-ref.ts";
import { openWeights, type OpenWeights, type OpenWeightsOptions } from "./weights/open-weights.ts";
import { openStoredLoose } from "./weights/stored-loose.ts";
import { storedWeights } from "./weights/stored.ts";
import type { WeightSource } from "./weights/weight-source.ts";

/** Options of {@link openStore}. */
export interface OpenStoreOptions extends OpenFolderOptions {
  /** The store's folder; {@link defaultStorePath} unless given. */
  readonly path?: string | undefined;
}

/** Options of {@link TareStore.add}. */
export interface AddFilesOptions extends MoveOptions {
  /**
   * Free parts of the files as their bytes are stored, and remove the files at the end: the disk never holds the model
   * twice. After an interruption, the same add resumes.
   */
  readonly move?: boolean | undefined;
}

/** Options of {@link TareStore.weights}. */
export interface StoredWeightsOptions {
  /** Optional if the model has one method. */
  readonly method?: string | undefined;
  /** Hash every weight first, even if its file is unchanged since it was hashed. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens the store in a folder; unless `create` is false, creates one if the folder is empty or does not exist.
 *
 * @example
 * ```ts
 * import { openRuntime, openStore } from "tare";
 *
 * const store = await openStore({ path: "models" });
 * await store.add(["fine-tune/"]);
 * await using runtime = openRuntime(store);
 * await using session = await runtime.load("fine-tune", { method: "decoder" });
 * const outputs = await session.run({ input_ids: { dtype: "int64", shape: [1, 3], bytes } });
 * ```
 * @throws StoreError `not-a-store`; FormatError `newer-version`
 */
export async function openStore(options: OpenStoreOptions = {}): Promise<TareStore> {
  return TareStore.open(options.path ?? defaultStorePath(), options);
}

/**
 * A folder of models and their weights. Operations such as {@link merge}, {@link refit}, {@link link} are functions
 * over a store; {@link openRuntime} runs its models.
 */
export class TareStore extends LocalStore {
  static override async open(root: string, options: OpenFolderOptions = {}): Promise<TareStore> {
    return new TareStore(await openStoreFolder(root, options));
  }

  /** Absolute path of the store's folder. */
  get path(): string {
    return this.name;
  }

  /**
   * Adds one model: a folder (each program in it is a method), or programs of one folder. Idempotent.
   * @throws FormatError, SourceError, StoreError; a failed add leaves the store unchanged
   */
  async add(paths: readonly string[], options: AddFilesOptions = {}): Promise<AddResult> {
    await requireOwnFolders(this.paths);
    if (options.move || (await isUnfinished(this.paths, paths))) return addMoving(this, paths, options);
    await using model = await openModel(paths, { signal: options.signal });
    return await addModel(this, options.as ?? model.name, model.draft, options);
  }

  /** Whether the store has a model of this name. */
  async has(name: string): Promise<boolean> {
    return (await this.names.resolve(name)) !== undefined;
  }

  /** Lists the models, sorted by name. */
  async list(): Promise<ModelSummary[]> {
    return summarizeModels(this);
  }

  /** Writes a model's original files, byte for byte. */
  async export(name: string, path: string, options: ExportOptions = {}): Promise<ExportResult> {
    return withModel(this, name, (model) => exportModel(this, model, path, options));
  }

  /**
   * Removes models, all or none; {@link gc} then frees blobs that no other model uses.
   * @throws StoreError `not-found`
   */
  async remove(names: readonly string[]): Promise<void> {
    await this.names.untag(names);
  }

  /** Removes blobs and compiled programs that no model uses. */
  async gc(options: GcOptions = {}): Promise<GcResult> {
    return collect(this, options);
  }

  /** Checks every model and blob. */
  async verify(options: VerifyOptions = {}): Promise<VerifyResult> {
    return verifyStore(this, options);
  }

  /** Measures the disk use of the store, and of the same models as separate files. */
  async status(): Promise<StoreStatus> {
    return storeStatus(this);
  }

  /**
   * Opens the weights of a model: to read, stream, or map in place.
   * @throws StoreError `not-found`, `missing-blob`, `corrupted`; LinkError `not-found` for a method
   */
  async weights(name: string, options: StoredWeightsOptions = {}): Promise<WeightSource> {
    const model = await readModel(this, name);
    await requireModel(this, model, { full: options.verify, signal: options.signal });
    const source = storedWeights(this, model, { method: options.method });
    await using loose = await openStoredLoose(this, model, options);
    const form = "in its file in another form, which openWeights() reads";
    const others = loose?.weights.keys().map((key) => ({ name: key, form })) ?? [];
    return loose ? { ...source, unread: [...loose.unread, ...others] } : source;
  }

  /**
   * Opens weights from a reference: a model of this store, files, a URL, `scope::key`, or an object.
   * @throws LinkError `not-found` if the reference has no target; FormatError, SourceError, StoreError
   */
  async openWeights(ref: WeightRef, options: Omit<OpenWeightsOptions, "store"> = {}): Promise<OpenWeights> {
    return openWeights(ref, { ...options, store: this });
  }
}
