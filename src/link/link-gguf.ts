import { existsSync } from "node:fs";
import { join } from "node:path";
import { requireEngine } from "../engines/engine-of.ts";
import { exportModel } from "../local-store/export.ts";
import { makeOwnFolder } from "../local-store/own-folders.ts";
import { withSystemErrors } from "../local-store/system-errors.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { isShardLayoutCurrent } from "../local-store/shard-layout-cache.ts";
import type { Method } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { cacheView, findCachedView, unlessThere } from "./cached-view.ts";
import { blobsMoved, withGgufView } from "./gguf-view.ts";
import type { LinkedAdapter, LinkedGguf } from "./linked-program.ts";
import { StoredProgram } from "./stored-program.ts";
import { readModel, readTagged } from "../store/read-model.ts";
import { requireModel } from "../store/require-model.ts";

/** A LoRA adapter of the store that is applied to a model while it runs. */
export interface Adapter {
  /** Name of the adapter in the store. */
  readonly model: string;
  /** Factor of the adapter: 1 is the trained strength. */
  readonly scale: number;
}

/** Models that were read before, by the digest of their manifest. */
export type SeenModels = Map<Digest, StoredModel>;

/** Options of {@link linkGguf}. */
export interface LinkGgufOptions {
  readonly adapters?: readonly Adapter[] | undefined;
  /** Hash every weight, even if its file did not change since it was hashed. */
  readonly verify?: boolean | undefined;
  /** Models that need not be read again; newly read models are added. */
  readonly seen?: SeenModels | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A linked GGUF model, and the stored models that it was linked from. */
export interface StoredGguf {
  readonly program: LinkedGguf;
  readonly model: StoredModel;
  readonly adapters: readonly StoredModel[];
}

/**
 * Links a stored GGUF model to files that llama.cpp opens: a cached view of the shards of its family, and the original
 * files of its adapters. Uses an existing view without planning if the models of the store did not change since.
 * @throws EngineError `unsupported` for models of other formats; StoreError `not-found`, `missing-blob`, `corrupted`
 */
export async function linkGguf(
  store: LocalStore,
  name: string,
  options: LinkGgufOptions = {},
): Promise<StoredGguf> {
  const { path, model } = (await findFile(store, name, options)) ?? (await makeFile(store, name, options));
  const adapters = options.adapters ?? [];
  const files = await Promise.all(adapters.map((adapter) => adapterFile(store, adapter.model)));
  const overlays = files.map((file, index) => ({ path: file.path, scale: adapters[index]?.scale ?? 1 }));
  const [method] = model.config.methods;
  return {
    program: new StoredView(store, model, method as Method, path, overlays),
    model,
    adapters: files.map((file) => file.model),
  };
}

/** Whether all files of a program exist: garbage collection in another process may have removed them. */
export function filesExist({ path, adapters }: LinkedGguf): boolean {
  return [path, ...adapters.map((adapter) => adapter.path)].every((file) => existsSync(file));
}

/** A view of a stored GGUF model. */
class StoredView extends StoredProgram implements LinkedGguf {
  declare readonly format: "gguf";
  readonly path: string;
  readonly adapters: readonly LinkedAdapter[];

  constructor(
    store: LocalStore,
    model: StoredModel,
    method: Method,
    path: string,
    adapters: readonly LinkedAdapter[],
  ) {
    super(store, model, method);
    this.path = path;
    this.adapters = adapters;
  }
}

/** A file that llama.cpp opens, and its model. */
interface ModelFile {
  readonly path: string;
  readonly model: StoredModel;
}

/** Finds the view of a model; `undefined` if it has to be planned and made. */
async function findFile(
  store: LocalStore,
  name: string,
  { seen, verify = false, signal }: LinkGgufOptions,
): Promise<ModelFile | undefined> {
  const tags = await store.names.list();
  const tag = tags.find((each) => each.name === name);
  if (!tag || !(await isShardLayoutCurrent(store, tags))) return undefined;
  try {
    const read = seen?.get(tag.digest) ?? (await readTagged(store, tag));
    seen?.set(tag.digest, read);
    // The known model may have been read under another name.
    const model = { ...read, name };
    await requireModel(store, model, { full: verify, signal });
    const path = await findCachedView(store.paths, model, verify);
    return path === undefined ? undefined : { path, model };
  } catch (error) {
    if (blobsMoved(error)) return undefined;
    throw error;
  }
}

async function makeFile(
  store: LocalStore,
  name: string,
  { verify = false, signal }: LinkGgufOptions,
): Promise<ModelFile> {
  requireEngine(await readModel(store, name), "llama", "generate text with");
  return withGgufView(
    store,
    name,
    async (view) => {
      // Read the model after the view is planned, because repacking may have moved its weights.
      const model = await readModel(store, name);
      await requireModel(store, model, { full: verify, signal });
      return { path: await cacheView(store.paths, model, view, verify), model };
    },
    signal,
  );
}

/** Writes the original file of a LoRA adapter, unless it exists. */
async function adapterFile(store: LocalStore, name: string): Promise<ModelFile> {
  const model = await readModel(store, name);
  requireEngine(model, "llama", "generate text with");
  await withSystemErrors(store.paths.views, () => makeOwnFolder(store.paths.root, store.paths.views));
  const path = join(store.paths.views, `${digestHex(model.digest)}.gguf`);
  await unlessThere(() => exportModel(store, model, path));
  return { path, model };
}
