/** Bytes of weights that a thread of its own pays for: below, waking it costs more than it brings. */
const BYTES_PER_THREAD = 32 << 20;

/**
 * Threads that a model's evaluation is worth, when it runs alone: one for each 32 MiB of weights, and never more than
 * there are cores, since llama.cpp's threads spin while they wait for each other (4 on 2 cores: 60 times slower).
 * @param asked what the caller asks for, bounded by the cores all the same
 */
export function idealThreads(bytes: number, cores: number, asked?: number): number {
  return Math.max(1, Math.min(cores, asked ?? Math.ceil(bytes / BYTES_PER_THREAD)));
}
