import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Llama, LlamaLoadOptions } from "../engines/llama/engine.ts";
import type { LlamaSession } from "../engines/llama/session.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { exportModel } from "../local-store/export.ts";
import { isShardLayoutCurrent } from "../local-store/shard-layout-cache.ts";
import { requireEngine } from "../engines/engine-of.ts";
import { blobsMoved, withGgufView } from "../link/gguf-view.ts";
import { findCachedView, cacheView, unlessThere } from "../link/cached-view.ts";
import { checkLoraCompatibility } from "../lora/lora-bases.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { readModel, readTagged } from "../store/read-model.ts";
import { requireModel } from "../store/require-model.ts";

/** Another process may collect views, or make one anew, just when the engine is about to open it. */
const ATTEMPTS = 3;

/** A LoRA adapter of the store, laid over a model while it runs. */
export interface Adapter {
  readonly model: string;
  /** How much of it: 1 as it was trained. */
  readonly scale: number;
}

/** Options of `TareStore.loadText`. */
export interface TextLoadOptions extends Omit<LlamaLoadOptions, "name" | "loras"> {
  readonly adapters?: readonly Adapter[] | undefined;
  /** Hash every weight before it is used, instead of trusting what was not written since it was hashed. */
  readonly verify?: boolean | undefined;
}

/** Models that were read before, by their manifest, which says all of them. */
export type SeenModels = Map<Digest, StoredModel>;

/** A model that was loaded, as the store had it. */
export interface LoadedText {
  readonly session: LlamaSession;
  readonly model: StoredModel;
  readonly adapters: readonly StoredModel[];
}

/**
 * Loads a GGUF model of a store, over the shards of its family.
 * @param seen need not be read again; those that are read are added
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`; EngineError
 */
export async function loadText(
  store: LocalStore,
  engine: Llama,
  name: string,
  options: TextLoadOptions = {},
  seen: SeenModels = new Map(),
): Promise<LoadedText> {
  const { adapters = [], verify = false, ...rest } = options;
  // Before the engine is given anything: its own errors come late and say little.
  await checkLoraCompatibility(
    store,
    name,
    adapters.map((adapter) => adapter.model),
  );
  for (let attempt = 1; ; attempt++) {
    const { path, model } = await textModelFile(store, name, seen, verify, options.signal);
    const overlays = await Promise.all(
      adapters.map(async (adapter) => ({
        scale: adapter.scale,
        ...(await adapterFile(store, adapter.model)),
      })),
    );
    const loras = overlays.map((overlay) => ({ path: overlay.path, scale: overlay.scale }));
    try {
      const session = await engine.load(path, { ...rest, name, loras });
      return { session, model, adapters: overlays.map((overlay) => overlay.model) };
    } catch (error) {
      const gone = [path, ...loras.map((lora) => lora.path)].some((file) => !existsSync(file));
      if (!gone || attempt === ATTEMPTS) throw error;
    }
  }
}

/** A file that llama.cpp opens, and the model that it is. */
interface TextFile {
  readonly path: string;
  readonly model: StoredModel;
}

/**
 * Makes the files that llama.cpp opens for a model: links to the shards of its family, in a view that the store keeps.
 * One that is there is taken at once, as long as the store's models are those that were laid out.
 * @returns the path of the first shard
 * @throws EngineError `unsupported` for models of other formats; StoreError `missing-blob`, `corrupted`
 */
async function textModelFile(
  store: LocalStore,
  name: string,
  seen: SeenModels,
  verify: boolean,
  signal: AbortSignal | undefined,
): Promise<TextFile> {
  const known = await keptFile(store, name, seen, verify, signal);
  if (known) return known;
  requireEngine(await readModel(store, name), "llama.cpp", "generate text with");
  return withGgufView(
    store,
    name,
    async (view) => {
      // Only now: laying the family out anew may have moved the weights.
      const model = await readModel(store, name);
      await requireModel(store, model, { full: verify, signal });
      return { path: await cacheView(store.paths, model, view, verify), model };
    },
    signal,
  );
}

/** What there is of a model already; `undefined` where it has to be planned and made. */
async function keptFile(
  store: LocalStore,
  name: string,
  seen: SeenModels,
  verify: boolean,
  signal: AbortSignal | undefined,
): Promise<TextFile | undefined> {
  const tags = await store.names.list();
  const tag = tags.find((each) => each.name === name);
  if (!tag || !(await isShardLayoutCurrent(store, tags))) return undefined;
  try {
    const read = seen.get(tag.digest) ?? (await readTagged(store, tag));
    seen.set(tag.digest, read);
    // The same model may have another name too.
    const model = { ...read, name };
    await requireModel(store, model, { full: verify, signal });
    const path = await findCachedView(store.paths, model, verify);
    return path === undefined ? undefined : { path, model };
  } catch (error) {
    if (blobsMoved(error)) return undefined;
    throw error;
  }
}

/** The file of a LoRA adapter, as it was added. */
async function adapterFile(store: LocalStore, name: string): Promise<TextFile> {
  const model = await readModel(store, name);
  requireEngine(model, "llama.cpp", "generate text with");
  const path = join(store.paths.views, `${digestHex(model.digest)}.gguf`);
  await unlessThere(() => exportModel(store, model, path));
  return { path, model };
}
