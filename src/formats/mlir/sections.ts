import type { ByteSource } from "../../io/byte-source.ts";
import { MlirCursor } from "./cursor.ts";
import type { FileFail } from "../../errors.ts";
import {
  HAS_ALIGNMENT,
  MAX_ALIGNMENT,
  MAX_PRODUCER_LENGTH,
  MAGIC,
  NEWEST_VERSION,
  PADDING,
  PROPERTIES_VERSION,
  Section,
  SECTION_NAMES,
} from "./schema.ts";
import type { Peek } from "./windowed.ts";

/** A section of a file; its data is not read. */
export interface SectionRange {
  readonly id: number;
  /** Start of its data, in bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
  /** In bytes; 1 if the file has none. */
  readonly alignment: number;
}

/** The parts of a file of bytecode. */
export interface BytecodeContainer {
  readonly version: number;
  readonly producer: string;
  /** In the order of the file. */
  readonly sections: readonly SectionRange[];
}

/** Longest header of a section, in bytes: its id, length and alignment. */
const MAX_HEADER_LENGTH = 1 + 9 + 9;

/** Whether bytes start with the signature of MLIR bytecode. */
export function isBytecode(bytes: Uint8Array): boolean {
  return bytes.byteLength >= MAGIC.byteLength && MAGIC.every((byte, index) => bytes[index] === byte);
}

/** Reads the header of a file, and those of its sections. */
export async function readSections(
  source: ByteSource,
  peek: Peek,
  fail: FileFail,
): Promise<BytecodeContainer> {
  const header = await peek(0, MAGIC.byteLength + 9 + MAX_PRODUCER_LENGTH + 1);
  if (!isBytecode(header)) throw fail("malformed", "it is no MLIR bytecode", { offset: 0 });
  const cursor = new MlirCursor(header, 0, fail);
  cursor.take(MAGIC.byteLength, "the magic number");
  const version = cursor.varint("the version");
  if (version > NEWEST_VERSION) {
    const hint = `Write it with --emit-bytecode-version=${NEWEST_VERSION}, or as text`;
    throw fail("newer-version", `its version is ${version}, over ${NEWEST_VERSION}`, {
      offset: MAGIC.byteLength,
      hint,
    });
  }
  const producerAt = cursor.at;
  const end = header.indexOf(0, producerAt);
  if (end < 0) throw fail("malformed", "its producer does not end", { offset: producerAt });
  const producer = new TextDecoder().decode(header.subarray(producerAt, end));
  const sections: SectionRange[] = [];
  for (let at = end + 1; at < source.size; ) {
    const section = await readHeader(source, peek, at, fail);
    if (sections.some((each) => each.id === section.id)) {
      throw fail("duplicate", `it has two ${SECTION_NAMES[section.id]} sections`, { offset: at });
    }
    sections.push(section);
    at = section.offset + section.length;
  }
  requireSections(version, sections, fail);
  return { version, producer, sections };
}

async function readHeader(source: ByteSource, peek: Peek, at: number, fail: FileFail): Promise<SectionRange> {
  const cursor = new MlirCursor(await peek(at, MAX_HEADER_LENGTH), at, fail);
  const first = cursor.byte("a section's id");
  const id = first & ~HAS_ALIGNMENT;
  const name = SECTION_NAMES[id];
  if (name === undefined) throw fail("malformed", `a section's id is ${id}`, { offset: at });
  const length = cursor.varint(`the length of section ${name}`);
  const alignment = first & HAS_ALIGNMENT ? cursor.varint(`the alignment of section ${name}`) : 1;
  checkResourceAlignment(alignment, fail, at);
  const offset = Math.ceil(cursor.offset / alignment) * alignment;
  if (offset + length > source.size) {
    const reason = `section ${name} ends at byte ${offset + length}, past the end at ${source.size}`;
    throw fail("malformed", reason, { offset: at });
  }
  await checkPadding(peek, cursor.offset, offset, fail);
  return { id, offset, length, alignment };
}

/** Refuses an alignment that no reader supports. */
export function checkResourceAlignment(
  alignment: number,
  fail: FileFail,
  offset: number,
  key?: string,
): void {
  // Not by bit operations, which have 32 bits.
  if (!Number.isInteger(Math.log2(alignment))) {
    throw fail("malformed", `its alignment is ${alignment}, which is no power of two`, {
      offset,
      tensor: key,
    });
  }
  if (alignment > MAX_ALIGNMENT) {
    throw fail("too-large", `its alignment is ${alignment}, over ${MAX_ALIGNMENT}`, { offset, tensor: key });
  }
}

/** Refuses padding of other bytes, as LLVM does. */
export async function checkPadding(
  peek: Peek,
  from: number,
  to: number,
  fail: FileFail,
  key?: string,
): Promise<void> {
  const padding = to > from ? await peek(from, to - from) : new Uint8Array();
  const odd = padding.findIndex((byte) => byte !== PADDING);
  if (odd >= 0)
    throw fail("malformed", "its padding is not made of 0xCB", { offset: from + odd, tensor: key });
}

function requireSections(version: number, sections: readonly SectionRange[], fail: FileFail): void {
  const needed: number[] = [
    Section.string,
    Section.dialect,
    Section.attrType,
    Section.attrTypeOffset,
    Section.ir,
  ];
  if (version >= PROPERTIES_VERSION) needed.push(Section.properties);
  const has = (id: number): boolean => sections.some((each) => each.id === id);
  if (has(Section.resource) || has(Section.resourceOffset))
    needed.push(Section.resource, Section.resourceOffset);
  const missing = needed.find((id) => !has(id));
  if (missing !== undefined) {
    throw fail("malformed", `it has no ${SECTION_NAMES[missing]} section`, {
      offset: sections.at(-1)?.offset ?? MAGIC.byteLength,
    });
  }
}
