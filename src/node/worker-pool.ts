import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { type PackedError, TareError, unpackError } from "../errors.ts";

/** Threads that run jobs of one kind, each one job at a time. Dispose it to end them. */
export interface WorkerPool<Job, Result> extends AsyncDisposable {
  /**
   * Runs jobs in order, as many at once as there are threads; the first failure stops the rest and is thrown.
   * Each job is made when its turn comes, so that it may depend on results that are there by then.
   */
  run(jobs: readonly (() => Job)[], onResult?: (result: Result, index: number) => void): Promise<Result[]>;
}

/** Options of {@link startWorkers}. */
export interface WorkerPoolOptions {
  readonly count: number;
  readonly data: unknown;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Starts a pool. The script answers each message with `{result}` or `{error}` (a packed error).
 * @param script URL of the compiled worker
 */
export function startWorkers<Job, Result>(
  script: URL,
  { count, data, signal }: WorkerPoolOptions,
): WorkerPool<Job, Result> {
  signal?.throwIfAborted();
  const workers = Array.from({ length: count }, () => new Worker(script, { workerData: data }));
  // A thread that fails between two jobs is seen by the next job.
  for (const worker of workers) worker.on("error", () => undefined);
  const stop = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.terminate()));
  };

  const runOn = async (worker: Worker, job: Job, gone: AbortSignal): Promise<Result> => {
    worker.postMessage(job);
    const [answer] = (await once(worker, "message", { signal: gone })) as [
      { result: Result } | { error: PackedError },
    ];
    if ("error" in answer) throw unpackError(answer.error, "io");
    return answer.result;
  };

  return {
    async run(jobs, onResult) {
      const results = new Array<Result>(jobs.length);
      const failed = new AbortController();
      const gone = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
      let next = 0;
      const loop = async (worker: Worker): Promise<void> => {
        const crashed = (error: unknown): void => failed.abort(error);
        const exited = (): void => failed.abort(new TareError("io", "Cannot go on: a thread ended"));
        worker.on("error", crashed);
        worker.on("exit", exited);
        try {
          while (next < jobs.length && !gone.aborted) {
            const index = next++;
            const result = await runOn(worker, (jobs[index] as () => Job)(), gone);
            results[index] = result;
            onResult?.(result, index);
          }
        } catch (error) {
          failed.abort(error);
        } finally {
          worker.off("error", crashed);
          worker.off("exit", exited);
        }
      };
      await Promise.all(workers.map(loop));
      signal?.throwIfAborted();
      if (failed.signal.aborted) throw failed.signal.reason;
      return results;
    },
    [Symbol.asyncDispose]: stop,
  };
}
