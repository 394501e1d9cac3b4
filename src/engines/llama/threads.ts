/** Bytes of weights for each thread: for fewer bytes, waking a thread costs more time than it saves. */
const BYTES_PER_THREAD = 32 << 20;

/**
 * Number of threads of a model that runs alone: one for each 32 MiB of weights, and at most the number of cores, because
 * llama.cpp's threads spin while they wait for each other (4 threads on 2 cores are 60 times slower).
 * @param asked number that the caller asks for, also bounded by the number of cores
 */
export function idealThreads(bytes: number, cores: number, asked?: number): number {
  return Math.max(1, Math.min(cores, asked ?? Math.ceil(bytes / BYTES_PER_THREAD)));
}
