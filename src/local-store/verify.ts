import { TareError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { manifestBlobs, modelWeights } from "../model/stored-model.ts";
import { readTagged } from "../store/read-model.ts";
import { readManifest } from "../store/choose-manifest.ts";
import { requireBlob } from "../store/require-model.ts";
import type { BlobRef, Tag } from "../store/store.ts";
import { repairStore } from "./repair.ts";
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
  /**
   * Files and folders of models, other stores, and files of blobs: damaged and missing blobs are taken from there, by digest.
   * Every blob is hashed then.
   */
  readonly repair?: readonly string[] | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of {@link verifyStore}. */
export interface VerifyResult {
  readonly models: number;
  readonly blobs: number;
  /** Size of the blobs in bytes. */
  readonly bytes: number;
  /** Faults that are left. */
  readonly problems: readonly Problem[];
  /** Number of blobs that a repair replaced. */
  readonly repaired: number;
}

/** State of a check, which a repair repeats. */
interface Check extends Omit<VerifyResult, "repaired"> {
  /** Damaged and missing blobs. */
  readonly damaged: readonly BlobRef[];
}

/** Number of repairs: a repaired manifest names further blobs. */
const MAX_REPAIRS = 4;

/**
 * Checks the manifest, config and blobs of every model, and the blobs of interrupted adds. Continues after a fault, to report all
 * of them. A sealed blob with other bytes loses its seal, so that each use hashes it and an add replaces it.
 * @throws SourceError `not-found` for a place to repair from, `disk-full`
 */
export async function verifyStore(store: LocalStore, options: VerifyOptions = {}): Promise<VerifyResult> {
  const { repair: from = [], signal } = options;
  const hashed = new Set<Digest>();
  let check = await checkStore(store, options, hashed);
  const damaged = new Set<Digest>();
  for (let round = 0; from.length > 0 && check.damaged.length > 0 && round < MAX_REPAIRS; round++) {
    const before = check.damaged.filter(({ digest }) => !damaged.has(digest));
    if (before.length === 0) break;
    for (const { digest } of before) damaged.add(digest);
    for (const digest of await repairStore(store, from, { needed: check.damaged, signal }))
      damaged.add(digest);
    check = await checkStore(store, options, hashed);
  }
  const { damaged: left, ...result } = check;
  for (const { digest } of left) damaged.delete(digest);
  return { ...result, repaired: [...damaged].filter((digest) => hashed.has(digest)).length };
}

/** @param hashed blobs that were hashed before, which are not hashed again while they are sealed; new ones are added */
async function checkStore(store: LocalStore, options: VerifyOptions, hashed: Set<Digest>): Promise<Check> {
  const problems: Problem[] = [];
  const damaged = new Map<Digest, BlobRef>();
  const attempt = async (model: string, work: () => Promise<void>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof TareError)) throw error;
      problems.push({ model, error });
      return false;
    }
  };
  const tags = await store.names.list();
  const blobs = new Map<Digest, { model: string; size: number; tensor: string | undefined }>();
  for (const tag of tags) {
    const { name } = tag;
    hashed.add(tag.digest);
    const readable = await attempt(name, async () => {
      const { manifest, config } = await readTagged(store, tag);
      const tensors = new Map(modelWeights(config).map((weight) => [weight.digest, weight.name]));
      for (const { digest: blob, size } of manifestBlobs(manifest)) {
        if (!blobs.has(blob)) blobs.set(blob, { model: name, size, tensor: tensors.get(blob) });
      }
    });
    if (!readable) for (const blob of await documentsOf(store, tag)) damaged.set(blob.digest, blob);
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
    const { repair, signal } = options;
    const full = (options.full || repair !== undefined) && !hashed.has(digest);
    signal?.throwIfAborted();
    const whole = await attempt(model, () => requireBlob(store, { digest, size }, { full, signal, tensor }));
    if (!whole) damaged.set(digest, { digest, size });
    hashed.add(digest);
    done += size;
    options.onProgress?.({ done, total });
  }
  return { models: tags.length, blobs: blobs.size, bytes: total, problems, damaged: [...damaged.values()] };
}

/** Finds the documents of a model that cannot be read: its manifest, or what the manifest lists. */
async function documentsOf(store: LocalStore, { digest }: Tag): Promise<readonly BlobRef[]> {
  const manifest = await readManifest(store, digest);
  if (!manifest) return [{ digest, size: await store.names.manifestSize(digest) }];
  const documents = manifestBlobs(manifest).filter(({ mediaType }) => mediaType.endsWith("+json"));
  const damaged: BlobRef[] = [];
  for (const each of documents) if (!(await store.blobs.has(each, { full: true }))) damaged.push(each);
  return damaged;
}
