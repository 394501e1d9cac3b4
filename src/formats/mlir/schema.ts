/** First bytes of MLIR bytecode. */
export const MAGIC: Uint8Array = Uint8Array.of(0x4d, 0x4c, 0xef, 0x52);
/** The newest bytecode version that is read; 19 and 22 of LLVM both write it. */
export const NEWEST_VERSION = 6;
/** From this version on, operations have properties by position: only the LLVM that wrote them reads them for sure. */
export const PROPERTIES_VERSION = 5;
/** From this version on, a dialect's name has a flag beside it that says whether its own version follows. */
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
/** How sections are called, by their ids. */
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
/** What is written between a header and what must be aligned. */
export const PADDING = 0xcb;

/** Kinds of resource entries. */
export const ResourceKind = { blob: 0, bool: 1, string: 2 } as const;

/** Dialect whose blobs `dense_resource` names. */
export const BUILTIN = "builtin";

/** Longest producer that is read; LLVM writes some ten bytes. */
export const MAX_PRODUCER_LENGTH = 1024;
/** Largest section that is read whole (names and offsets): what a file of 100,000 weights has is a tenth. */
export const MAX_TABLE_BYTES: number = 64 * 1024 * 1024;
/** Most strings, resources or uses of them in a file: all are in memory at once. */
export const MAX_ITEMS = 500_000;
/** Largest alignment: a huge page. */
export const MAX_ALIGNMENT: number = 2 * 1024 * 1024;

/** Below this, and where a file's size is a multiple of the page, LLVM reads a file into memory aligned to 16. */
export const MAPPED_FROM: number = 16 * 1024;
export const PAGE = 4096;
/** What every buffer of LLVM is aligned to. */
export const MIN_BUFFER_ALIGNMENT = 16;

/** Group of a thin file's external resources that says where its weights are: an entry each. */
export const LINK_GROUP = "tare";
/** Group beside it that says what the weights are of. */
export const LINK_FILE_GROUP = "tare_file";
/** Its one entry. */
export const LINK_FILE_KEY = "manifest";
