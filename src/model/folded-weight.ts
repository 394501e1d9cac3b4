/** A file that starts with the bytes of a folded weight: one that an engine computed from other weights. */
export interface FoldedFile {
  /** Path relative to the root of the engine. */
  readonly location: string;
  /** Length of the folded weight, in bytes. */
  readonly length: number;
}
