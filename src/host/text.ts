import { join } from "node:path";
import type { LlamaLoadOptions } from "../engines/llama/engine.ts";
import { TareError } from "../errors.ts";
import { digestHex } from "../model/digest.ts";
import { exportModel } from "../node/export.ts";
import type { FileStore } from "../node/store/file-store.ts";
import { writeView } from "../node/view.ts";
import { requireEngine } from "./engine-of.ts";
import { withGgufView } from "./gguf-view.ts";

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

/**
 * Makes the files that llama.cpp opens for a model: links to the shards of its family, in a view that the store keeps.
 * @returns the path of the first shard
 * @throws EngineError `unsupported` for models of other formats; StoreError `missing-blob`, `corrupted`
 */
export async function textModelFile(
  store: FileStore,
  name: string,
  verify = false,
  signal?: AbortSignal,
): Promise<string> {
  requireEngine(await store.model(name), "llama.cpp", "generate text with");
  return withGgufView(
    store,
    name,
    async (view) => {
      // Only now: laying the family out anew may have moved the weights.
      const model = await store.model(name);
      await store.requireModel(model, verify, signal);
      const folder = join(store.layout.views, digestHex(model.digest));
      await unlessThere(() => writeView(folder, view.links, view.written));
      return join(folder, view.first);
    },
    signal,
  );
}

/** The file of a LoRA adapter, as it was added. */
export async function adapterFile(store: FileStore, name: string): Promise<string> {
  const model = await store.model(name);
  requireEngine(model, "llama.cpp", "generate text with");
  const path = join(store.layout.views, `${digestHex(model.digest)}.gguf`);
  await unlessThere(() => exportModel(store, model, path));
  return path;
}

/** Another process may make the same view at the same time: it is the same. */
async function unlessThere(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { code } = (
      error instanceof TareError && error.cause instanceof Error ? error.cause : error
    ) as NodeJS.ErrnoException;
    if (code !== "exists" && code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
}
