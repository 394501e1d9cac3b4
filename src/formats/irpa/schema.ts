/** First bytes of every archive: `IRPA`, as a little-endian number. */
export const MAGIC = 0x41505249;

/**
 * Bytes of each structure; all are packed and little-endian.
 * Source: the schema of IREE parameter archives, version 0.0.
 */
export const STRUCT_BYTES = { header: 88, entry: 60, data: 76, splat: 85, pattern: 16 } as const;

/** Offsets of a header's fields, in bytes; a segment is an offset and a length. */
export const IrpaHeaderFields = {
  major: 4,
  minor: 6,
  headerSize: 8,
  next: 16,
  entryCount: 32,
  entries: 40,
  metadata: 56,
  storage: 72,
} as const;

/** Offsets of an entry's fields, in bytes; a name and metadata are an offset and a length. */
export const IrpaEntryFields = {
  size: 0,
  type: 8,
  name: 20,
  metadata: 36,
  alignment: 52,
  /** For data: offset and length. */
  storage: 60,
  /** For a splat. */
  splatLength: 60,
  pattern: 68,
  patternLength: 84,
} as const;

export const EntryType = { skip: 0, splat: 1, data: 2, external: 3 } as const;

export const Alignment = { entry: 16, data: 64, file: 4096 } as const;

/** Prefixes of metadata with dtype and shape in JSON, by IREE's Python tools for NumPy and for PyTorch. */
export const TENSOR_METADATA = ["TENSORv0:", "PYTORCH:"] as const;

/** Longest entry table, or metadata, in bytes: enough for a million and a half entries. */
export const MAX_SEGMENT_LENGTH: number = 128 * 1024 * 1024;
