/** What prepacked and folded bytes depend on, besides the weights and their nodes. */
export interface CacheTarget {
  /** Of the engine. */
  readonly version: string;
  /** Kernels choose a layout by instruction set. */
  readonly cpu: string;
}

/** How prepacked and folded files are found. */
export interface CachedFileOptions {
  /** Hash each file, even if nobody wrote to it since it was hashed. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}
