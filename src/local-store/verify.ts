import { TareError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { manifestBlobs, modelWeights } from "../model/stored-model.ts";
import { readTagged } from "../store/read-model.ts";
import { requireBlob } from "../store/require-model.ts";
import { unfinishedAdds } from "./move-journal.ts";
import type { LocalStore } from "./local-store.ts";
import type { Progress } from "../io/progress.ts";

/** One thing that is wrong with a store. */
export interface Problem {
  /** Its name, or the path of one whose adding ended early. */
  readonly model: string;
  readonly error: TareError;
}

/** Options of {@link verifyStore}. */
export interface VerifyOptions {
  /** Hash every byte, instead of trusting blobs that were not written since they were hashed. */
  readonly full?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a check of the store found. */
export interface VerifyResult {
  readonly models: number;
  readonly blobs: number;
  /** In bytes. */
  readonly bytes: number;
  readonly problems: readonly Problem[];
}

/**
 * Checks every model's manifest, config and blobs, and those of adds that ended early; continues after a problem, so that
 * all are found.
 */
export async function verifyStore(store: LocalStore, options: VerifyOptions = {}): Promise<VerifyResult> {
  const problems: Problem[] = [];
  const attempt = async (model: string, work: () => Promise<void>): Promise<void> => {
    await work().catch((error: unknown) => {
      if (!(error instanceof TareError)) throw error;
      problems.push({ model, error });
    });
  };
  const tags = await store.names.list();
  const blobs = new Map<Digest, { model: string; size: number; tensor: string | undefined }>();
  for (const tag of tags) {
    const { name } = tag;
    await attempt(name, async () => {
      const { manifest, config } = await readTagged(store, tag);
      const tensors = new Map(modelWeights(config).map((weight) => [weight.digest, weight.name]));
      for (const { digest: blob, size } of manifestBlobs(manifest)) {
        if (!blobs.has(blob)) blobs.set(blob, { model: name, size, tensor: tensors.get(blob) });
      }
    });
  }
  for (const { path, weights } of await unfinishedAdds(store.paths)) {
    for (const { digest, size, blob } of weights) {
      // A weight inside another blob is part of a model, which is checked above.
      if (blob === digest && !blobs.has(blob)) blobs.set(blob, { model: path, size, tensor: undefined });
    }
  }
  const total = [...blobs.values()].reduce((sum, blob) => sum + blob.size, 0);
  let done = 0;
  for (const [digest, { model, size, tensor }] of blobs) {
    const { full = false, signal } = options;
    signal?.throwIfAborted();
    await attempt(model, () => requireBlob(store, { digest, size }, { full, signal, tensor }));
    done += size;
    options.onProgress?.({ done, total });
  }
  return { models: tags.length, blobs: blobs.size, bytes: total, problems };
}
