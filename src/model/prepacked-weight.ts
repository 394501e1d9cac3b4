/** A prepacked copy of a weight (in the layout of an engine's kernel): the engine's key, and the buffers in a file. */
export interface PrepackedEntry {
  /** The operator, and the engine's hash of the prepacked bytes. */
  readonly key: string;
  /** Ranges of the file, in bytes. */
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
}

/** A file that starts with a weight, followed by prepacked copies of it. */
export interface PrepackedFile {
  /** Path relative to the root of the engine. */
  readonly location: string;
  /** Empty if the engine does not prepack the weight: the file then has no weight either. */
  readonly entries: readonly PrepackedEntry[];
}

/** Prepacked copies that an engine wrote. */
export interface PrepackedParts {
  /** Path of the file with the buffers; it does not exist if there are no entries. */
  readonly path: string;
  readonly entries: readonly PrepackedEntry[];
}

/**
 * Alignment of prepacked buffers, in bytes. Engines read them with aligned instructions, which crash at other offsets.
 */
export const PREPACKED_ALIGNMENT = 64;
