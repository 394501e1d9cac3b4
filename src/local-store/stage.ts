import type { Digest } from "../tensor/digest.ts";
import type { ModelDraft } from "../model/draft.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { FileSource } from "../node/file-source.ts";
import { watchProgress } from "../node/progress.ts";
import { type AddOptions, refuseChanged, storeModel } from "./add.ts";
import { discard } from "./gc.ts";
import type { StorePaths } from "./store-paths.ts";
import { openLease, sweepLeases } from "./lease.ts";
import { readStoredModel } from "./read-model.ts";

/** A model whose weights are in the store, for as long as this lives, and that has no name there. */
export interface StagedModel extends AsyncDisposable {
  readonly model: StoredModel;
  /** Blobs that the store did not have, with their sizes. */
  readonly fresh: ReadonlyMap<Digest, number>;
}

/**
 * Stores the weights of files without giving them a name: others may use them meanwhile. Dispose it, and what no
 * model of the store uses by then is gone.
 * @param name for errors
 * @param files the opened sources of `draft.files`, in the same order
 * @throws SourceError `source-changed`, `short-read`, `disk-full`
 */
export async function stageModel(
  layout: StorePaths,
  name: string,
  draft: ModelDraft,
  files: readonly FileSource[],
  options: Omit<AddOptions, "replace"> = {},
): Promise<StagedModel> {
  await sweepLeases(layout);
  const lease = await openLease(layout);
  const fresh = new Map<Digest, number>();
  const drop = async (): Promise<void> => {
    await discard(layout, fresh.keys());
    await lease[Symbol.asyncDispose]();
  };
  const progress = new SharedArrayBuffer(16);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  using _ = watchProgress(progress, total, options.onProgress);
  try {
    const { descriptor } = await storeModel(layout, lease, draft, files, progress, fresh, options);
    await refuseChanged(files);
    const model = await readStoredModel(layout, name, descriptor.digest);
    return { model, fresh, [Symbol.asyncDispose]: drop };
  } catch (error) {
    await drop().catch(() => undefined);
    throw error;
  }
}
