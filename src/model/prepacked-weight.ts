/** A copy of a weight in the layout of an engine's kernel, as the engine names it: where in a file its buffers lie. */
export interface PrepackedEntry {
  /** The operator, and the engine's own hash of the packed bytes. */
  readonly key: string;
  /** In bytes. */
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
}

/** A file with a weight's bytes at its start, and packed copies of it behind them. */
export interface PrepackedFile {
  /** Relative to the root that an engine is given. */
  readonly location: string;
  /** None where an engine turned out not to pack the weight: then there is no file to map. */
  readonly entries: readonly PrepackedEntry[];
}

/** What an engine packed. */
export interface PrepackedParts {
  /** File that the entries' buffers lie in; not there where it has none. */
  readonly path: string;
  readonly entries: readonly PrepackedEntry[];
}

/** Engines read packed buffers with aligned instructions: one that lies elsewhere ends the process. */
export const PREPACKED_ALIGNMENT = 64;
