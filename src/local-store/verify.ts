import { TareError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { manifestBlobs, modelWeights } from "../model/stored-model.ts";
import { readTagged } from "../store/read-model.ts";
import { requireBlob } from "../store/require-model.ts";
import { unfinishedAdds } from "./move-journal.ts";
import type { LocalStore } from "./local-store.ts";
import type { Progress } from "../io/progress.ts";

/** A fault of a store. */
export interface Problem {
  /** Name of the model, or original path of an interrupted add. */
  readonly model: string;
  readonly error: TareError;
}

/** Options of {@link verifyStore}. */
export interface VerifyOptions {
  /** Hash every blob, also those that are unchanged since they were hashed. */
  readonly full?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of {@link verifyStore}. */
export interface VerifyResult {
  readonly models: number;
  readonly blobs: number;
  /** Size of the blobs in bytes. */
  readonly bytes: number;
  readonly problems: readonly Problem[];
}

/**
 * Checks the manifest, config and blobs of every model, and the blobs of interrupted adds. Continues after a fault, to
 * report all of them.
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
      // A weight inside another blob belongs to a model, which is checked above.
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
