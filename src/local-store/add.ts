import type { ModelDraft } from "../model/draft.ts";
import { allWeights } from "../model/holes.ts";
import type { FileSource } from "../node/file-source.ts";
import { checkName } from "../store/check-name.ts";
import type { TagOptions } from "../store/store.ts";
import { transact } from "../store/transaction.ts";
import type { Digest } from "../tensor/digest.ts";
import type { LocalStore } from "./local-store.ts";
import { writeModel, type WriteModelOptions } from "./write-model.ts";

/** Options of {@link addModel}. */
export interface AddOptions extends TagOptions, Omit<WriteModelOptions, "moving"> {}

/** What an add did. */
export interface AddResult {
  readonly name: string;
  /** Of the manifest. */
  readonly digest: Digest;
  /** Size of the model's files. */
  readonly fileBytes: number;
  /** Bytes that the store did not have. */
  readonly newBytes: number;
  readonly weights: number;
  /** Blobs that the store did not have. */
  readonly newBlobs: number;
  /** What people should know about how the files were read, in sentences. */
  readonly notes?: readonly string[];
}

/**
 * Adds a model whose files are open: streams them once, keeps what the store has not, and names the model at the end.
 * Until then nothing is visible; on failure the store is as it was.
 * @throws SourceError `source-changed`, `short-read`, `disk-full`; StoreError `name-taken`, `bad-name`
 */
export async function addModel(
  store: LocalStore,
  name: string,
  draft: ModelDraft<FileSource>,
  options: TagOptions & WriteModelOptions = {},
): Promise<AddResult> {
  checkName(name);
  return transact(store, async (transaction) => {
    const stored = await writeModel(store, transaction, draft, options);
    options.signal?.throwIfAborted();
    const digest = await transaction.name(name, stored, options);
    return {
      name,
      digest,
      fileBytes: draft.files.reduce((sum, { source }) => sum + source.size, 0),
      newBytes: transaction.freshBytes,
      newBlobs: transaction.fresh.size,
      weights: allWeights(draft).length,
      ...(draft.notes && { notes: draft.notes }),
    };
  });
}
