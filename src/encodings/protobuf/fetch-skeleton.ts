import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { fileErrors } from "../../errors.ts";
import { malformed, varintAt, Wire } from "./fields.ts";
import { type Gap, SparseBytes } from "./sparse-bytes.ts";

/**
 * The relevant fields of a message: a nested message (its shape, given lazily since schemas are recursive), or a
 * payload that may be skipped. All other fields are fetched without parsing.
 */
export interface MessageShape {
  readonly [field: number]: "payload" | (() => MessageShape);
}

/** Shortest payload to skip, in bytes. Skipping shorter ones would cost a read. */
const MIN_GAP_BYTES = 4096;
/** Length of the first read after a gap, and of the longest, in bytes. Each further read without a gap doubles it. */
const WINDOW = { least: 4096, most: 256 * 1024 };
/** Longest header of a field, in bytes: a tag and a length, each at most ten bytes. */
const MAX_HEADER_LENGTH = 20;
/** Deepest nesting of messages, as in protobuf implementations. Graphs of exporters are less deep. */
const DEEPEST = 100;
/** Most bytes besides payloads, which are held in memory. Graphs of 100,000 nodes stay below a tenth. */
const MAX_SKELETON_BYTES = 256 * 1024 * 1024;

/**
 * Fetches a protobuf file without the large payloads that `shape` allows to skip.
 * Reads move forward and never overlap, so that the cost of a file with 2 GB of weights is that of its graph.
 * @throws FormatError `malformed` (with the offset), `too-large`; what the source throws
 */
export async function fetchSkeleton(
  source: ByteSource,
  shape: MessageShape,
  options: ReadOptions = {},
): Promise<SparseBytes> {
  const reader = new ForwardReader(source, options);
  const gaps: Gap[] = [];
  const open: { readonly shape: MessageShape; readonly end: number }[] = [{ shape, end: source.size }];
  let at = 0;
  for (;;) {
    while (at === open.at(-1)?.end) open.pop();
    const message = open.at(-1);
    if (!message) break;
    if (!reader.holds(at, MAX_HEADER_LENGTH))
      await reader.reach(Math.min(at + MAX_HEADER_LENGTH, source.size));

    const { window, local } = reader.view(at);
    const limit = Math.min(window.byteLength, local + message.end - at);
    const tag = varintAt(window, local, limit);
    if (!tag) throw malformed(source, at, "a field's tag is cut off or too long");
    const wire = Number(tag.value & 7n);
    const number = Number(tag.value >> 3n);
    let end = at + tag.end - local;
    let inner: MessageShape[number] | undefined;
    if (wire === Wire.varint || wire === Wire.bytes) {
      const varint = varintAt(window, tag.end, limit);
      if (!varint) throw malformed(source, at, "a varint is cut off or too long");
      end = at + varint.end - local;
      if (wire === Wire.bytes) {
        if (varint.value > BigInt(message.end - end)) {
          throw malformed(
            source,
            at,
            `field ${number} has ${varint.value} bytes, ${message.end - end} are left`,
          );
        }
        inner = message.shape[number];
        if (typeof inner === "function") {
          if (open.length >= DEEPEST)
            throw malformed(source, at, `messages nested over ${DEEPEST} levels deep`);
          open.push({ shape: inner(), end: end + Number(varint.value) });
        } else end += Number(varint.value);
        if (inner === "payload" && varint.value >= MIN_GAP_BYTES) {
          gaps.push({ offset: end - Number(varint.value), length: Number(varint.value) });
          reader.skip(end);
        }
      }
    } else if (wire === Wire.fixed64) end += 8;
    else if (wire === Wire.fixed32) end += 4;
    else throw malformed(source, at, `wire type ${wire}`);
    if (end > message.end) throw malformed(source, at, `field ${number} runs past the end of its message`);
    // Avoids a turn of the event loop for each of ten million small fields, which would double the time.
    if (typeof inner !== "function" && !reader.reached(end)) await reader.reach(end);
    at = end;
  }
  return new SparseBytes(source.name, reader.without(gaps), gaps);
}

/** Reads a source forward in growing windows, and keeps what it read. */
class ForwardReader {
  readonly #source: ByteSource;
  readonly #options: ReadOptions;
  readonly #segments: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  #held = 0;
  #window: Uint8Array = new Uint8Array(0);
  #windowAt = 0;
  /** Offset of the next read. */
  #front = 0;
  #step = WINDOW.least;

  constructor(source: ByteSource, options: ReadOptions) {
    this.#source = source;
    this.#options = options;
  }

  holds(at: number, length: number): boolean {
    return at >= this.#windowAt && at + length <= this.#windowAt + this.#window.byteLength;
  }

  /** The window, and the index of a file offset in it. */
  view(at: number): { window: Uint8Array; local: number } {
    return { window: this.#window, local: at - this.#windowAt };
  }

  /** Skips everything up to `offset` that was not read yet. */
  skip(offset: number): void {
    if (offset <= this.#front) return;
    this.#front = offset;
    this.#step = WINDOW.least;
    this.#window = new Uint8Array(0);
    this.#windowAt = offset;
  }

  reached(offset: number): boolean {
    return this.#front >= offset;
  }

  /** Reads on until everything before `offset` was read or skipped. */
  async reach(offset: number): Promise<void> {
    while (this.#front < offset) {
      const length = Math.min(this.#step, this.#source.size - this.#front);
      const bytes = await this.#source.read(this.#front, length, this.#options);
      this.#segments.push({ offset: this.#front, bytes });
      this.#held += length;
      if (this.#held > MAX_SKELETON_BYTES) {
        throw fileErrors(this.#source)("too-large", "its graph without weights is over 256 MiB");
      }
      // A header may cross the border between two reads: the window keeps the tail of the one before.
      const tail = this.#window.subarray(Math.max(0, this.#window.byteLength - MAX_HEADER_LENGTH));
      this.#windowAt = this.#front - tail.byteLength;
      this.#window = new Uint8Array(tail.byteLength + length);
      this.#window.set(tail);
      this.#window.set(bytes, tail.byteLength);
      this.#front += length;
      this.#step = Math.min(this.#step * 2, WINDOW.most);
    }
  }

  /** All bytes that were read, without the gaps, in one array. */
  without(gaps: readonly Gap[]): Uint8Array {
    const skipped = gaps.reduce((sum, gap) => sum + gap.length, 0);
    const kept = new Uint8Array(this.#source.size - skipped);
    let filled = 0;
    let next = 0;
    for (const { offset, bytes } of this.#segments) {
      const end = offset + bytes.byteLength;
      let from = offset;
      while (from < end) {
        while (next < gaps.length && gapEnd(gaps[next] as Gap) <= from) next++;
        const gap = gaps[next];
        if (gap && gap.offset <= from) {
          from = Math.min(end, gapEnd(gap));
          continue;
        }
        const to = Math.min(end, gap?.offset ?? end);
        kept.set(bytes.subarray(from - offset, to - offset), filled);
        filled += to - from;
        from = to;
      }
    }
    return kept;
  }
}

function gapEnd(gap: Gap): number {
  return gap.offset + gap.length;
}
