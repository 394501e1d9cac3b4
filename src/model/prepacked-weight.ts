/** A copy of a weight in the layout of an engine's kernel, as the engine names it: where in a file its buffers lie. */
export interface PackedEntry {
  /** The operator, and the engine's own hash of the packed bytes. */
  readonly key: string;
  /** In bytes. */
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
}

/** A file with a weight's bytes at its start, and packed copies of it behind them. */
export interface PackedFile {
  /** Relative to the root that an engine is given. */
  readonly location: string;
  /** None where an engine turned out not to pack the weight: then there is no file to map. */
  readonly entries: readonly PackedEntry[];
}

/** What an engine packed. */
export interface PackedParts {
  /** File that the entries' buffers lie in; not there where it has none. */
  readonly path: string;
  readonly entries: readonly PackedEntry[];
}

/** Engines read packed buffers with aligned instructions: one that lies elsewhere ends the process. */
export const PACKED_ALIGNMENT = 64;
