/** Engine and processor that prepacked and folded bytes depend on. */
export interface CacheTarget {
  /** Version of the engine. */
  readonly version: string;
  /** Processor: kernels choose a layout by instruction set. */
  readonly cpu: string;
}

/** Options of finding prepacked and folded files. */
export interface CachedFileOptions {
  /** Hash each file, even if it did not change since it was hashed. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}
