/** How far something is that goes over bytes. */
export interface Progress {
  /** Bytes done so far. */
  readonly done: number;
  /** Bytes in all. */
  readonly total: number;
}

/** How often progress is told. */
const PROGRESS_MS = 100;

/**
 * Tells how far threads are that count bytes in shared memory; once more when it is disposed.
 * @param counter its first 64 bits are the bytes done so far
 */
export function watchProgress(
  counter: SharedArrayBuffer,
  total: number,
  report: ((progress: Progress) => void) | undefined,
): Disposable {
  if (!report) return { [Symbol.dispose]: () => undefined };
  const view = new BigInt64Array(counter);
  const tell = (): void => report({ done: Math.min(total, Number(Atomics.load(view, 0))), total });
  tell();
  const timer = setInterval(tell, PROGRESS_MS);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      tell();
    },
  };
}
