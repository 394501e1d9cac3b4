import { open } from "node:fs/promises";
import { join } from "node:path";
import { StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { WeightFile } from "../model/weight-file.ts";
import { openFileSource } from "../node/file-source.ts";
import type { IngestJob, IngestPart, IngestResult, IngestSetup } from "./ingest-job.ts";
import { startIngestWorkers } from "./ingest-workers.ts";

/** Number of hashing threads: two saturate a disk. */
const THREADS = 2;

/**
 * Writes files of stored weights, each under its sha256 in `setup.blobs`, in one sequential pass. Checks every weight
 * against its digest.
 * @param blobPath returns the path of a blob of the store
 * @throws StoreError `corrupted` with the digest of a damaged weight
 */
export async function writeWeightFiles(
  files: readonly WeightFile[],
  blobPath: (digest: Digest) => string,
  setup: IngestSetup,
  signal?: AbortSignal,
): Promise<IngestResult[]> {
  const jobs = await Promise.all(files.map((file, index) => jobOf(file, index, blobPath, setup.temporary)));
  const count = Math.max(1, Math.min(THREADS, jobs.length));
  await using workers = startIngestWorkers(setup, { count, signal });
  const results = await workers.run(jobs.map((job) => () => job));
  results.forEach(({ size }, index) => {
    const expected = files[index]?.size;
    if (size === expected) return;
    throw new StoreError(
      "corrupted",
      `Cannot write a file of weights: it has ${size} bytes instead of ${expected}`,
    );
  });
  return results;
}

async function jobOf(
  file: WeightFile,
  index: number,
  blobPath: (digest: Digest) => string,
  folder: string,
): Promise<IngestJob> {
  const path = join(folder, `header-${index}`);
  const handle = await open(path, "wx");
  await handle.writeFile(file.header);
  await handle.close();
  const parts: IngestPart[] = [await partOf(path, 0, file.header.byteLength)];
  let at = file.header.byteLength;
  for (const [nth, { digest, from }] of file.weights.entries()) {
    const offset = file.offsets[nth] as number;
    const part = await partOf(blobPath(from.blob), from.offset, from.length);
    parts.push({ ...part, digest, padding: offset - at });
    at = offset + from.length;
  }
  parts.push({ ...(await partOf(path, 0, 0)), padding: file.size - at });
  return { parts, bundle: false, candidates: [] };
}

async function partOf(path: string, offset: number, length: number): Promise<IngestPart> {
  await using source = await openFileSource(path);
  return { path, identity: source.identity, offset, length };
}
