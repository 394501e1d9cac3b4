import { fileErrors } from "../../errors.ts";
import { type Frame, varintLength } from "./fields.ts";
import { type Gap, SparseBytes } from "./sparse-bytes.ts";

/** Replaces a range of one message's body; `start === end` inserts. */
export interface Edit {
  /** The innermost message that holds the whole range. */
  readonly frame: Frame;
  readonly start: number;
  readonly end: number;
  readonly bytes: Uint8Array;
  /** Number of bytes after it that are not in memory: a gap in the result. */
  readonly gap?: number;
}

/**
 * Applies edits to a protobuf file and sets the length prefixes of all messages around them.
 * Everything else is copied, so that fields unknown to the caller stay unchanged.
 * Every gap of the view must be in an edited range. Edits at the same place keep their order.
 * @throws FormatError `malformed` if a gap remains
 */
export function splice(view: SparseBytes, edits: readonly Edit[]): Uint8Array {
  const { bytes, gaps } = spliceSparse(view, edits);
  if (gaps.length > 0) throw new RangeError("edits with gaps make no whole file");
  return bytes;
}

/** Applies edits with gaps. @returns a file that is partly in memory */
export function spliceSparse(view: SparseBytes, edits: readonly Edit[]): SparseBytes {
  const all = [...edits, ...prefixEdits(edits)];
  // Array.prototype.sort is stable: insertions keep their order, and precede a replacement at their place.
  all.sort((a, b) => a.start - b.start || a.end - b.end);
  const parts: Uint8Array[] = [];
  const gaps: Gap[] = [];
  let at = 0;
  let grown = 0;
  for (const edit of all) {
    if (edit.start < at) throw new RangeError(`edits overlap at ${edit.start}`);
    copy(view, at, edit.start, parts);
    parts.push(edit.bytes);
    const { gap = 0 } = edit;
    if (gap > 0) gaps.push({ offset: edit.start + grown + edit.bytes.byteLength, length: gap });
    grown += growthOf(edit);
    at = edit.end;
  }
  copy(view, at, view.size, parts);
  return new SparseBytes(view.name, concatBytes(parts), gaps);
}

/** Joins pieces into one array. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let filled = 0;
  for (const part of parts) {
    result.set(part, filled);
    filled += part.byteLength;
  }
  return result;
}

/** The new length prefix of every message whose length changes, innermost first. */
function prefixEdits(edits: readonly Edit[]): Edit[] {
  const growth = new Map<Frame, number>();
  const grow = (frame: Frame, by: number): void => void growth.set(frame, (growth.get(frame) ?? 0) + by);
  for (const edit of edits) grow(edit.frame, growthOf(edit));
  for (const frame of Array.from(growth.keys())) {
    for (let outer = frame.parent; outer; outer = outer.parent) if (!growth.has(outer)) growth.set(outer, 0);
  }

  const prefixes: Edit[] = [];
  for (const frame of [...growth.keys()].sort((a, b) => depth(b) - depth(a))) {
    const by = growth.get(frame) as number;
    if (!frame.parent || by === 0) continue;
    const bytes = encodeVarint(frame.end - frame.start + by);
    prefixes.push({ frame: frame.parent, start: frame.prefix, end: frame.start, bytes });
    grow(frame.parent, by + bytes.byteLength - (frame.start - frame.prefix));
  }
  return prefixes;
}

/** The number of bytes that an edit adds to the file. */
function growthOf({ bytes, gap = 0, start, end }: Edit): number {
  return bytes.byteLength + gap - (end - start);
}

function depth(frame: Frame): number {
  let levels = 0;
  for (let outer = frame.parent; outer; outer = outer.parent) levels++;
  return levels;
}

function copy(view: SparseBytes, start: number, end: number, parts: Uint8Array[]): void {
  for (let at = start; at < end; ) {
    const run = view.run(at);
    if (run.byteLength === 0) {
      const fail = fileErrors(view, { verb: "rewrite" });
      throw fail("malformed", `bytes at ${at} are left unbound`, { offset: at });
    }
    const piece = run.subarray(0, end - at);
    parts.push(piece);
    at += piece.byteLength;
  }
}

/** Encodes a varint in its shortest form. */
export function encodeVarint(value: number): Uint8Array {
  const bytes = new Uint8Array(varintLength(value));
  let rest = value;
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = (rest % 0x80) | (index < bytes.length - 1 ? 0x80 : 0);
    rest = Math.floor(rest / 0x80);
  }
  return bytes;
}
