/** How far something is that goes over bytes. */
export interface Progress {
  /** Bytes done so far. */
  readonly done: number;
  /** Bytes in all. */
  readonly total: number;
}
