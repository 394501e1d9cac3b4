/**
 * Waits for an answer or an abort. An abort does not stop the engine: it continues in its thread, and its late answer
 * is passed to `drop`.
 */
export async function abortable<T>(
  answer: Promise<T>,
  signal?: AbortSignal,
  drop?: (late: T) => unknown,
): Promise<T> {
  if (!signal) return answer;
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([aborted, answer]);
  } catch (error) {
    answer.then(drop).catch(() => undefined);
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
