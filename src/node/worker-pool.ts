import { Worker } from "node:worker_threads";
import { type PackedError, TareError, unpackError } from "../errors.ts";

/** Threads that run jobs of one kind, each one job at a time. Dispose the pool to end them. */
export interface WorkerPool<Job, Result> extends AsyncDisposable {
  /**
   * Runs jobs in order, one on each thread at a time; the first failure stops the other jobs and is thrown.
   * A job is made right before it runs, so that it may depend on earlier results.
   */
  run(jobs: readonly (() => Job)[], onResult?: (result: Result, index: number) => void): Promise<Result[]>;
}

/** Options of {@link startWorkers}. */
export interface WorkerPoolOptions {
  readonly count: number;
  readonly data: unknown;
  /** Called after a failure or an abort, to end running jobs early; the pool still waits for their answers. */
  readonly stop?: () => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Starts a pool. The script answers each message with `{result}` or `{error}` (a packed error).
 * @param script URL of the compiled worker
 */
export function startWorkers<Job, Result>(
  script: URL,
  { count, data, stop, signal }: WorkerPoolOptions,
): WorkerPool<Job, Result> {
  signal?.throwIfAborted();
  const workers: Worker[] = [];
  /** Starts only as many threads as there were jobs at once: a small model needs one. */
  const workersFor = (jobs: number): readonly Worker[] => {
    while (workers.length < Math.min(count, jobs)) workers.push(new Worker(script, { workerData: data }));
    return workers;
  };
  return {
    async run(jobs, onResult) {
      const results: Result[] = [];
      let next = 0;
      const failures: unknown[] = [];
      const fail = (error: unknown): void => {
        if (failures.push(error) === 1) stop?.();
      };
      const onAbort = (): void => fail(signal?.reason);
      const loop = async (worker: Worker): Promise<void> => {
        while (next < jobs.length && failures.length === 0) {
          const index = next++;
          try {
            const result = await runOn<Result>(worker, (jobs[index] as () => Job)());
            results[index] = result;
            onResult?.(result, index);
          } catch (error) {
            fail(error);
          }
        }
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      if (signal?.aborted) onAbort();
      await Promise.all(workersFor(jobs.length).map(loop));
      signal?.removeEventListener("abort", onAbort);
      if (failures.length > 0) throw failures[0];
      return results;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

/** Sends a job to a thread and waits for the answer, or for the end of the thread. */
function runOn<Result>(worker: Worker, job: unknown): Promise<Result> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
    };
    const onMessage = (answer: { result: Result } | { error: PackedError }): void => {
      done();
      if ("error" in answer) reject(unpackError(answer.error, "io"));
      else resolve(answer.result);
    };
    const onError = (error: unknown): void => {
      done();
      reject(error);
    };
    const onExit = (): void => onError(new TareError("io", "Cannot finish a job: its thread ended"));
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
    worker.postMessage(job);
  });
}
