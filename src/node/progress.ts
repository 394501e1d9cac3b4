import type { Progress } from "../io/progress.ts";

/** Interval between reports. */
const PROGRESS_MS = 100;

/**
 * Reports the progress of threads that count bytes in shared memory, at intervals and on disposal.
 * @param counter the first 64 bits are the number of bytes done
 */
export function watchProgress(
  counter: SharedArrayBuffer,
  total: number,
  report: ((progress: Progress) => void) | undefined,
): Disposable {
  if (!report) return { [Symbol.dispose]: () => undefined };
  const view = new BigInt64Array(counter);
  const reportNow = (): void => report({ done: Math.min(total, Number(Atomics.load(view, 0))), total });
  reportNow();
  const timer = setInterval(reportNow, PROGRESS_MS);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      reportNow();
    },
  };
}
