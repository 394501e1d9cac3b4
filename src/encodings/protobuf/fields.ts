import { fileErrors, type FormatError } from "../../errors.ts";
import type { SparseBytes } from "./sparse-bytes.ts";

/** Wire types of protobuf. Groups (3 and 4) are refused: no format that tare reads has them. */
export const Wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** A field of a message. */
export interface Field {
  readonly number: number;
  readonly wire: number;
  /** Offset of its tag. */
  readonly start: number;
  /** Offset of its payload. */
  readonly body: number;
  /** Offset of its end. */
  readonly end: number;
  /** Value of a varint; 0 for other wire types. */
  readonly value: bigint;
}

/** A message, without its length prefix. The outermost has no prefix and no parent. */
export interface Frame {
  /** Offset of the length prefix; equals `start` for the outermost. */
  readonly prefix: number;
  readonly start: number;
  readonly end: number;
  readonly parent: Frame | undefined;
}

/** The frame of a length-delimited field. */
export function frameOf(field: Field, parent: Frame, view: SparseBytes): Frame {
  requireWire(field, Wire.bytes, view);
  // The prefix follows the tag, whose length is that of the varint `number << 3 | wire`.
  return {
    prefix: field.start + varintLength(field.number * 8 + field.wire),
    start: field.body,
    end: field.end,
    parent,
  };
}

/** Refuses a field whose wire type differs from the schema. */
export function requireWire(field: Field, wire: number, view: SparseBytes): void {
  if (field.wire !== wire) {
    throw malformed(
      view,
      field.start,
      `field ${field.number} has wire type ${field.wire} instead of ${wire}`,
    );
  }
}

/**
 * Visits the fields of one message, in the order of the file.
 * @throws FormatError `malformed`, with the offset, for invalid protobuf
 */
export function eachField(
  view: SparseBytes,
  start: number,
  end: number,
  visit: (field: Field) => void,
): void {
  // A run ends at a gap or the end of the file, never inside a header, and serves many fields.
  let run: Uint8Array = new Uint8Array(0);
  let runAt = start;
  let at = start;
  while (at < end) {
    if (at - runAt >= run.byteLength) {
      run = view.run(at);
      runAt = at;
    }
    const field = fieldIn(view, run, runAt, at, end);
    visit(field);
    at = field.end;
  }
}

/** Parses the tag, and the value or length, of the field at `start`. */
export function fieldAt(view: SparseBytes, start: number, end: number): Field {
  return fieldIn(view, view.run(start), start, start, end);
}

/** @param run bytes of the file from offset `runAt` on */
function fieldIn(view: SparseBytes, run: Uint8Array, runAt: number, start: number, end: number): Field {
  const local = start - runAt;
  const limit = Math.min(run.byteLength, end - runAt);
  const tag = varintAt(run, local, limit);
  if (!tag) throw malformed(view, start, "a field's tag is cut off or too long");
  if (tag.value > 0xffffffffn) throw malformed(view, start, "a field's tag is over 32 bits");
  const number = Number(tag.value >> 3n);
  const wire = Number(tag.value & 7n);
  if (number === 0) throw malformed(view, start, "field number 0");
  // Over-long tags are refused: splicing computes a tag's length from its value.
  if (tag.end - local !== varintLength(Number(tag.value))) throw malformed(view, start, "an over-long tag");

  let body = runAt + tag.end;
  let length: number;
  let value = 0n;
  if (wire === Wire.varint || wire === Wire.bytes) {
    const varint = varintAt(run, tag.end, limit);
    if (!varint) throw malformed(view, body, "a varint is cut off or too long");
    if (wire === Wire.varint) {
      value = varint.value;
      length = varint.end - tag.end;
    } else {
      body = runAt + varint.end;
      if (varint.value > BigInt(end - body)) {
        throw malformed(
          view,
          start,
          `field ${number} has ${varint.value} bytes, ${end - body} are left in its message`,
        );
      }
      length = Number(varint.value);
    }
  } else if (wire === Wire.fixed64) length = 8;
  else if (wire === Wire.fixed32) length = 4;
  else throw malformed(view, start, `wire type ${wire}`);
  if (body + length > end) throw malformed(view, start, `field ${number} runs past the end of its message`);
  return { number, wire, start, body, end: body + length, value };
}

/** Makes the error for what is wrong at an offset of a file. */
export function malformed(view: { readonly name: string }, offset: number, reason: string): FormatError {
  return fileErrors(view, { verb: "parse", showOffset: true })("malformed", reason, { offset });
}

/**
 * Decodes a varint of at most 64 bits.
 * @returns `undefined` if it is cut off at `limit` or longer than ten bytes
 */
export function varintAt(
  bytes: Uint8Array,
  at: number,
  limit: number,
): { value: bigint; end: number } | undefined {
  let low = 0;
  let high = 0n;
  for (let index = 0; index < 10 && at + index < limit; index++) {
    const byte = bytes[at + index] as number;
    if (index < 4) low |= (byte & 0x7f) << (7 * index);
    else high |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) {
      const value = high | BigInt(low);
      return value > 0xffffffffffffffffn ? undefined : { value, end: at + index + 1 };
    }
  }
  return undefined;
}

/** Bytes of a varint's shortest form. */
export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) length++;
  return length;
}
