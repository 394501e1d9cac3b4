import { startWorkers, type WorkerPool } from "../node/worker-pool.ts";
import type { IngestJob, IngestResult, IngestSetup } from "./ingest-job.ts";

/** Options of {@link startIngestWorkers}. */
export interface IngestWorkersOptions {
  readonly count: number;
  readonly signal?: AbortSignal | undefined;
}

/** Starts threads that hash ranges of files and make blobs of them. Dispose the pool to end them. */
export function startIngestWorkers(
  setup: IngestSetup,
  { count, signal }: IngestWorkersOptions,
): WorkerPool<IngestJob, IngestResult> {
  return startWorkers(new URL("./ingest-worker.js", import.meta.url), {
    count,
    data: setup,
    stop: () => void Atomics.store(new BigInt64Array(setup.progress), 1, 1n),
    signal,
  });
}
