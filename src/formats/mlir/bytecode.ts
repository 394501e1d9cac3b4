import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { MlirCursor } from "./cursor.ts";
import { fileErrors, type FileFail, shorten } from "../../errors.ts";
import { BUILTIN, ResourceKind, MAX_TABLE_BYTES, Section, SECTION_NAMES } from "./schema.ts";
import {
  checkResourceAlignment,
  checkPadding,
  type BytecodeContainer,
  isBytecode,
  readSections,
  type SectionRange,
} from "./sections.ts";
import {
  parseDialects,
  parseResourceTable,
  parseStrings,
  type TableEntry,
  type TableGroup,
} from "./tables.ts";
import { type Peek, windowed } from "./windowed.ts";

/** The content of an entry: for a blob the place of its bytes, for a string its index. */
export type ResourceContent =
  | { readonly kind: "declared" }
  | { readonly kind: "blob"; readonly alignment: number; readonly offset: number; readonly length: number }
  | { readonly kind: "string"; readonly index: number }
  | { readonly kind: "bool"; readonly value: number };

/** A resource, by name. */
export interface MlirResource {
  readonly name: string;
  /** Index of the name among the strings. */
  readonly key: number;
  /** Kind in the table, which a declared resource has too. */
  readonly kindByte: number;
  readonly content: ResourceContent;
}

/** Resources of one owner: a dialect, or an external group. */
export interface MlirResourceGroup {
  readonly name: string;
  /** Index of a dialect, or of an external group's name among the strings. */
  readonly owner: number;
  readonly resources: readonly MlirResource[];
}

/** A file of bytecode; the bytes of its resources are not read. */
export interface MlirBytecode extends BytecodeContainer {
  readonly source: ByteSource;
  readonly strings: readonly Uint8Array[];
  readonly external: readonly MlirResourceGroup[];
  readonly dialects: readonly MlirResourceGroup[];
}

/** Whether a file is bytecode, by its first bytes; otherwise it is text. */
export async function hasBytecode(source: ByteSource, options: ReadOptions = {}): Promise<boolean> {
  return isBytecode(await source.read(0, Math.min(4, source.size), options));
}

/**
 * Reads the tables of MLIR bytecode and the headers of its resources. Bytes of blobs are not read.
 * @throws FormatError naming file, resource and offset
 */
export async function readBytecode(source: ByteSource, options: ReadOptions = {}): Promise<MlirBytecode> {
  const fail = fileErrors(source, { part: "resource" });
  const peek = windowed(source, options);
  const container = await readSections(source, peek, fail);
  const find = (id: number): SectionRange | undefined => container.sections.find((each) => each.id === id);
  const table = async (section: SectionRange): Promise<Uint8Array> => {
    const { id, offset, length } = section;
    if (length > MAX_TABLE_BYTES) {
      throw fail("too-large", `its ${SECTION_NAMES[id]} section has ${length} bytes`, { offset });
    }
    return peek(offset, length);
  };
  const stringSection = find(Section.string) as SectionRange;
  const strings = parseStrings(await table(stringSection), stringSection, fail);
  const dialectSection = find(Section.dialect) as SectionRange;
  const names = parseDialects(await table(dialectSection), dialectSection, container.version, fail);
  const resources = find(Section.resource);
  const offsets = find(Section.resourceOffset);
  if (!resources || !offsets) return { ...container, source, strings, external: [], dialects: [] };
  const read = parseResourceTable(await table(offsets), offsets, resources, fail);
  // Each is decoded once: a file may reference a long string any number of times.
  const decoder = new TextDecoder();
  const texts: string[] = [];
  const nameOf = (index: number | undefined, at: number): string => {
    const bytes = index === undefined ? undefined : strings[index];
    if (index === undefined || !bytes) {
      throw fail("malformed", `it references string ${index} of ${strings.length}`, { offset: at });
    }
    return (texts[index] ??= decoder.decode(bytes));
  };
  const groupsOf = async (
    groups: readonly TableGroup[],
    stringOf: (owner: number) => number | undefined,
  ): Promise<MlirResourceGroup[]> => {
    const found: MlirResourceGroup[] = [];
    const owners = new Set<string>();
    for (const { owner, entries } of groups) {
      const name = nameOf(stringOf(owner), entries[0]?.saidAt ?? offsets.offset);
      if (owners.has(name)) {
        throw fail("duplicate", `it has resources of "${shorten(name)}" in two groups`, {
          offset: entries[0]?.saidAt,
        });
      }
      owners.add(name);
      const keys = new Set<string>();
      const list: MlirResource[] = [];
      for (const entry of entries) {
        const key = nameOf(entry.key, entry.saidAt);
        if (keys.has(key))
          throw fail("duplicate", `"${shorten(name)}" has it twice`, { offset: entry.saidAt, tensor: key });
        keys.add(key);
        const content = await readContent(source, peek, entry, key, fail);
        if (content.kind === "string") nameOf(content.index, entry.offset);
        list.push({ name: key, key: entry.key, kindByte: entry.kind, content });
      }
      found.push({ name, owner, resources: list });
    }
    return found;
  };
  const external = await groupsOf(read.external, (owner) => owner);
  const dialects = await groupsOf(read.dialects, (owner) => names[owner]);
  return { ...container, source, strings, external, dialects };
}

/** The resources that `dense_resource` names. */
export function builtinResources(file: Pick<MlirBytecode, "dialects">): readonly MlirResource[] {
  return file.dialects.find((each) => each.name === BUILTIN)?.resources ?? [];
}

/** Longest header of a blob: an alignment and a size, in bytes. */
const MAX_HEADER_LENGTH = 18;

async function readContent(
  source: ByteSource,
  peek: Peek,
  entry: TableEntry,
  key: string,
  fail: FileFail,
): Promise<ResourceContent> {
  const { kind, offset, size } = entry;
  if (size === 0) return { kind: "declared" };
  const failKey: FileFail = (code, reason, details) => fail(code, reason, { ...details, tensor: key });
  const cursor = new MlirCursor(await peek(offset, Math.min(size, MAX_HEADER_LENGTH)), offset, failKey);
  const end = offset + size;
  if (kind === ResourceKind.blob) {
    const alignment = cursor.varint("its alignment");
    const length = cursor.varint("its size");
    checkResourceAlignment(alignment, fail, offset, key);
    const start = Math.ceil(cursor.offset / alignment) * alignment;
    if (start + length !== end) {
      const reason = `${length} bytes aligned to ${alignment} end at byte ${start + length}, its entry at ${end}`;
      throw fail("size-mismatch", reason, { offset, tensor: key });
    }
    await checkPadding(peek, cursor.offset, start, fail, key);
    return { kind: "blob", alignment, offset: start, length };
  }
  const value = kind === ResourceKind.string ? cursor.varint("its string") : cursor.byte("its value");
  if (cursor.offset !== end || source.size < end) {
    throw fail("malformed", `${end - cursor.offset} bytes follow its value`, {
      offset: cursor.offset,
      tensor: key,
    });
  }
  return kind === ResourceKind.string ? { kind: "string", index: value } : { kind: "bool", value };
}
