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
export interface AddOptions extends TagOptions, Omit<WriteModelOptions, "moving" | "name"> {}

/** Result of an add. */
export interface AddResult {
  readonly name: string;
  /** Digest of the manifest. */
  readonly digest: Digest;
  /** Size of the model's files, in bytes. */
  readonly fileBytes: number;
  /** Size of the blobs that the add put into the store, in bytes. */
  readonly newBytes: number;
  /** Number of weights, and of constants in other files. */
  readonly weights: number;
  /** Number of blobs that the add put into the store. */
  readonly newBlobs: number;
  /** Notes for the user on how the files were read, in sentences. */
  readonly notes?: readonly string[];
}

/**
 * Adds a model whose files are open: streams the files once, stores new blobs, and names the model at the end. A
 * failure leaves the store unchanged.
 * @throws SourceError `source-changed`, `short-read`, `disk-full`; StoreError `name-taken`, `bad-name`
 */
export async function addModel(
  store: LocalStore,
  name: string,
  draft: ModelDraft<FileSource>,
  options: TagOptions & Omit<WriteModelOptions, "name"> = {},
): Promise<AddResult> {
  checkName(name);
  return transact(store, async (transaction) => {
    const stored = await writeModel(store, transaction, draft, { ...options, name });
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
