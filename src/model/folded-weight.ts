/** A file with the bytes of a weight that was derived from others at its start. */
export interface FoldedFile {
  /** Relative to the root that an engine is given. */
  readonly location: string;
  /** Of the derived weight, in bytes. */
  readonly length: number;
}
