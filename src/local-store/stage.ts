import type { ModelDraft } from "../model/draft.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { FileSource } from "../node/file-source.ts";
import { readTagged } from "../store/read-model.ts";
import { Transaction } from "../store/transaction.ts";
import type { Digest } from "../tensor/digest.ts";
import type { LocalStore } from "./local-store.ts";
import { writeModel, type WriteModelOptions } from "./write-model.ts";

/** A model whose weights are in the store, for as long as this lives, and that has no name there. */
export interface StagedModel extends AsyncDisposable {
  readonly model: StoredModel;
  /** Blobs that the store did not have, with their sizes in bytes. */
  readonly fresh: ReadonlyMap<Digest, number>;
}

/**
 * Stores the weights of files without giving them a name: other models may use them meanwhile. Dispose it to remove what
 * no model of the store uses by then.
 * @param name for errors
 * @throws SourceError `source-changed`, `short-read`, `disk-full`
 */
export async function stageModel(
  store: LocalStore,
  name: string,
  draft: ModelDraft<FileSource>,
  options: Omit<WriteModelOptions, "moving"> = {},
): Promise<StagedModel> {
  const transaction = await Transaction.begin(store);
  const end = (): Promise<void> => transaction[Symbol.asyncDispose]();
  try {
    const { descriptor } = await writeModel(store, transaction, draft, options);
    await transaction.sync();
    const model = await readTagged(store, { name, digest: descriptor.digest });
    return { model, fresh: transaction.fresh, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
}
