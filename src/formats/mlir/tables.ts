import { MlirCursor } from "./cursor.ts";
import type { FileFail } from "../../errors.ts";
import { DIALECT_VERSIONS, HAS_ALIGNMENT, ResourceKind, MAX_ITEMS } from "./schema.ts";
import type { SectionRange } from "./sections.ts";

/** An entry of the offset table. */
export interface TableEntry {
  readonly key: number;
  readonly kind: number;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** 0 for a resource that is only declared. */
  readonly size: number;
  /** Offset of the entry in the file, in bytes. */
  readonly saidAt: number;
}

/** A group of resources: of a dialect, by its index, or external, by its name's index. */
export interface TableGroup {
  readonly owner: number;
  readonly entries: readonly TableEntry[];
}

/** The offset table. */
export interface ResourceTable {
  readonly external: readonly TableGroup[];
  readonly dialects: readonly TableGroup[];
}

/** Parses the strings of a file, as bytes. */
export function parseStrings(
  bytes: Uint8Array,
  { offset: start }: SectionRange,
  fail: FileFail,
): Uint8Array[] {
  const cursor = new MlirCursor(bytes, start, fail);
  const count = cursor.count("the number of strings", 2);
  const lengths: number[] = [];
  for (let index = 0; index < count; index++) lengths.push(cursor.varint("the length of a string"));
  const strings: Uint8Array[] = [];
  // They are stored in reverse order.
  for (const length of lengths.reverse()) {
    const at = cursor.offset;
    const string = cursor.take(length, "a string");
    if (string.at(-1) !== 0) throw fail("malformed", "a string does not end with 0", { offset: at });
    strings.push(string.subarray(0, -1));
  }
  if (cursor.left > 0)
    throw fail("malformed", `${cursor.left} bytes after its strings belong to none`, {
      offset: cursor.offset,
    });
  return strings;
}

/** Parses the names of the dialects, as indices of strings. */
export function parseDialects(
  bytes: Uint8Array,
  { offset: start }: SectionRange,
  version: number,
  fail: FileFail,
): number[] {
  const cursor = new MlirCursor(bytes, start, fail);
  const count = cursor.count("the number of dialects", 1);
  const names: number[] = [];
  for (let index = 0; index < count; index++) {
    const name = cursor.varint("the name of a dialect");
    if (version < DIALECT_VERSIONS) names.push(name);
    else {
      names.push(Math.floor(name / 2));
      if (name % 2 === 1) skipSection(cursor, fail);
    }
  }
  return names;
}

/** Skips the version of a dialect, a section within the section. */
function skipSection(cursor: MlirCursor, fail: FileFail): void {
  const at = cursor.offset;
  const first = cursor.byte("the version of a dialect");
  const length = cursor.varint("the version of a dialect");
  if (first & HAS_ALIGNMENT) throw fail("unsupported", "the version of a dialect is aligned", { offset: at });
  cursor.take(length, "the version of a dialect");
}

/** Parses the offset table, whose sizes must add up to the resource section. */
export function parseResourceTable(
  bytes: Uint8Array,
  { offset: start }: SectionRange,
  resources: SectionRange,
  fail: FileFail,
): ResourceTable {
  const cursor = new MlirCursor(bytes, start, fail);
  const end = resources.offset + resources.length;
  let at = resources.offset;
  const readGroup = (): TableGroup => {
    const owner = cursor.varint("the owner of a group");
    const count = cursor.count("the number of resources", 3);
    const entries: TableEntry[] = [];
    for (let index = 0; index < count; index++) {
      const saidAt = cursor.offset;
      const key = cursor.varint("the key of a resource");
      const size = cursor.varint("the size of a resource");
      const kind = cursor.byte("the kind of a resource");
      if (kind > ResourceKind.string)
        throw fail("malformed", `the kind of a resource is ${kind}`, { offset: saidAt });
      if (size > end - at) {
        throw fail(
          "malformed",
          `a resource ends at byte ${at + size}, past the end of its section at ${end}`,
          { offset: saidAt },
        );
      }
      entries.push({ key, kind, offset: at, size, saidAt });
      at += size;
    }
    return { owner, entries };
  };
  const external: TableGroup[] = [];
  const dialects: TableGroup[] = [];
  const groups = cursor.count("the number of external groups", 2);
  for (let index = 0; index < groups; index++) external.push(readGroup());
  while (cursor.left > 0) {
    if (dialects.push(readGroup()) > MAX_ITEMS) {
      throw fail("too-large", `it has over ${MAX_ITEMS} groups of resources`, { offset: cursor.offset });
    }
  }
  if (at !== end) throw fail("malformed", `bytes ${at} to ${end} belong to no resource`, { offset: at });
  return { external, dialects };
}
