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

/** A section of a file; nothing of its data was read. */
export interface SectionRange {
  readonly id: number;
  /** Of its data, in bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
  /** 1 where the file does not say one. */
  readonly alignment: number;
}

/** What a file of bytecode is made of. */
export interface BytecodeContainer {
  readonly version: number;
  readonly producer: string;
  /** In the order of the file. */
  readonly sections: readonly SectionRange[];
}

/** A section's id, its length and its alignment, at their longest. */
const MAX_HEADER_LENGTH = 1 + 9 + 9;

/** Whether bytes start as MLIR bytecode does. */
export function isBytecode(bytes: Uint8Array): boolean {
  return bytes.byteLength >= MAGIC.byteLength && MAGIC.every((byte, index) => bytes[index] === byte);
}

/** Reads the header of a file and the headers of its sections. */
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
    const hint = `write it with --emit-bytecode-version=${NEWEST_VERSION}, or as text`;
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

/** Refuses what no reader can align to. */
export function checkResourceAlignment(
  alignment: number,
  fail: FileFail,
  offset: number,
  key?: string,
): void {
  // Not by bits: those are of 32.
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

/** LLVM refuses a file where anything else lies between a header and what it aligns. */
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
