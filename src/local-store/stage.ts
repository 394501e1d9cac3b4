import type { ModelDraft } from "../model/draft.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { FileSource } from "../node/file-source.ts";
import { readTagged } from "../store/read-model.ts";
import { Transaction } from "../store/transaction.ts";
import type { Digest } from "../tensor/digest.ts";
import type { LocalStore } from "./local-store.ts";
import { writeModel, type WriteModelOptions } from "./write-model.ts";

/** A model without a name, whose weights are in the store until it is disposed. */
export interface StagedModel extends AsyncDisposable {
  readonly model: StoredModel;
  /** New blobs of the store, with their sizes in bytes. */
  readonly fresh: ReadonlyMap<Digest, number>;
}

/**
 * Stores a model without a name; other models may use its weights. Dispose the result to remove the blobs that no model
 * of the store uses by then.
 * @param name name of the model, for errors
 * @throws SourceError `source-changed`, `short-read`, `disk-full`
 */
export async function stageModel(
  store: LocalStore,
  name: string,
  draft: ModelDraft<FileSource>,
  options: Omit<WriteModelOptions, "moving" | "name"> = {},
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
