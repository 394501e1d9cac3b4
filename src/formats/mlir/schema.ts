/** First bytes of MLIR bytecode. */
export const MAGIC: Uint8Array = Uint8Array.of(0x4d, 0x4c, 0xef, 0x52);
/** The newest bytecode version that tare reads. LLVM 19 and LLVM 22 both write it. */
export const NEWEST_VERSION = 6;
/** From this version on, operations have properties by position: only the LLVM that wrote them is sure to read them. */
export const PROPERTIES_VERSION = 5;
/** From this version on, a flag beside a dialect's name tells whether the dialect's version follows. */
export const DIALECT_VERSIONS = 1;

/** Kinds of sections. Source: mlir/Bytecode/Encoding.h */
export const Section = {
  string: 0,
  dialect: 1,
  attrType: 2,
  attrTypeOffset: 3,
  ir: 4,
  resource: 5,
  resourceOffset: 6,
  dialectVersions: 7,
  properties: 8,
} as const;
/** Names of sections by their ids. */
export const SECTION_NAMES: readonly string[] = [
  "String",
  "Dialect",
  "AttrType",
  "AttrTypeOffset",
  "IR",
  "Resource",
  "ResourceOffset",
  "DialectVersions",
  "Properties",
];
/** Flag beside a section's id: an alignment follows its length. */
export const HAS_ALIGNMENT = 0x80;
/** The byte of padding before aligned data. */
export const PADDING = 0xcb;

/** Kinds of resource entries. */
export const ResourceKind = { blob: 0, bool: 1, string: 2 } as const;

/** The dialect of blobs that `dense_resource` names. */
export const BUILTIN = "builtin";

/** Longest producer, in bytes. LLVM writes some ten. */
export const MAX_PRODUCER_LENGTH = 1024;
/** Largest section of names and offsets, in bytes. A file of 100,000 weights has a tenth. */
export const MAX_TABLE_BYTES: number = 64 * 1024 * 1024;
/** Most strings, resources or uses of them in a file: all are held in memory. */
export const MAX_ITEMS = 500_000;
/** Largest alignment, in bytes: a huge page. */
export const MAX_ALIGNMENT: number = 2 * 1024 * 1024;

/**
 * LLVM maps files from this size on, in bytes, unless the size is a multiple of the page. It reads others into memory.
 */
export const MAPPED_FROM: number = 16 * 1024;
export const PAGE = 4096;
/** Alignment of every buffer of LLVM, in bytes. */
export const MIN_BUFFER_ALIGNMENT = 16;

/** External resource group of a thin file with an entry for each weight. */
export const LINK_GROUP = "tare";
/** Group beside it with the origin of the weights. */
export const LINK_FILE_GROUP = "tare_file";
/** Its one entry. */
export const LINK_FILE_KEY = "manifest";
