import { Inflate } from "fflate";
import type { FileFail } from "../../errors.ts";
import { type ByteSource, checkRange, type ReadOptions } from "../../io/byte-source.ts";
import { readExactly } from "../../io/stream.ts";
import { crc32 } from "./crc32.ts";
import type { ZipEntry } from "./directory.ts";

/** Packed bytes read at a time, which unpack to 17 MB at most. */
const MAX_PACKED_BYTES = 16 * 1024;

/**
 * The bytes of a deflated file of an archive, in bounded memory. They are unpacked in order, from where the last read
 * ended; a read before that starts again. The read of the last byte checks the size and the checksum.
 * @param packed the packed bytes, all of them
 * @throws FormatError `malformed`, `corrupted` while it is read
 */
export function inflatedSource(
  packed: ByteSource,
  { name, size, crc }: Pick<ZipEntry, "name" | "size" | "crc">,
  fail: FileFail,
): ByteSource {
  let stream = new InflateStream(packed);
  const wrongSize = (): Error => fail("malformed", `"${name}" does not unpack to ${size} bytes`);
  const unpack = async (offset: number, length: number, options: ReadOptions): Promise<Uint8Array> => {
    if (offset < stream.start) stream = new InflateStream(packed);
    const out = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const from = offset + filled - stream.start;
      const part = stream.piece.subarray(from, from + length - filled);
      out.set(part, filled);
      filled += part.byteLength;
      if (part.byteLength === 0 && !(await stream.next(options.signal))) throw wrongSize();
    }
    if (offset + length < size) return out;
    while (stream.end <= size && (await stream.next(options.signal)));
    if (stream.end !== size) throw wrongSize();
    if (stream.crc !== crc) throw fail("corrupted", `"${name}" does not have its checksum`);
    return out;
  };
  const read = async (offset: number, length: number, options: ReadOptions): Promise<Uint8Array> => {
    try {
      return await unpack(offset, length, options);
    } catch (error) {
      // A stream that failed is of no use to the next read.
      stream = new InflateStream(packed);
      if (!(error instanceof InflateError)) throw error;
      throw fail("malformed", `"${name}" does not unpack (${error.message})`);
    }
  };
  let last: Promise<unknown> = Promise.resolve();
  const source: ByteSource = {
    name: packed.name,
    size,
    async read(offset, length, options = {}) {
      checkRange(source, offset, length);
      const result = last.then(() => read(offset, length, options));
      last = result.catch(() => undefined);
      return result;
    },
  };
  return source;
}

/** A failure of the decoder, which is one of the file. */
class InflateError extends RangeError {}

class InflateStream {
  readonly #packed: ByteSource;
  readonly #inflate = new Inflate();
  readonly #pieces: Uint8Array[] = [];
  #at = 0;
  /** The last bytes that were unpacked. */
  piece: Uint8Array = new Uint8Array(0);
  /** Offset of the first of them. */
  start = 0;
  /** Of all bytes so far. */
  crc = 0;

  constructor(packed: ByteSource) {
    this.#packed = packed;
    this.#inflate.ondata = (piece) => this.#pieces.push(piece);
  }

  get end(): number {
    return this.start + this.piece.byteLength;
  }

  /** Unpacks the next piece. @returns whether there was one, which may be empty */
  async next(signal: AbortSignal | undefined): Promise<boolean> {
    const ready = this.#pieces.shift();
    if (!ready) {
      const length = Math.min(MAX_PACKED_BYTES, this.#packed.size - this.#at);
      if (length === 0) return false;
      const bytes = await readExactly(this.#packed, this.#at, length, signal);
      this.#at += length;
      try {
        // The decoder keeps what it is given: a source may use its memory again.
        this.#inflate.push(bytes.slice(), this.#at === this.#packed.size);
      } catch (cause) {
        throw new InflateError((cause as Error).message);
      }
      return true;
    }
    this.start = this.end;
    this.piece = ready;
    this.crc = crc32(ready, this.crc);
    return true;
  }
}
