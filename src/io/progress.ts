/** Progress of an operation, in bytes that it reads or writes. */
export interface Progress {
  /** Bytes done so far. */
  readonly done: number;
  /** Bytes in all. */
  readonly total: number;
}
