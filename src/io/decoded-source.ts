import { type ByteSource, checkRange, type ReadOptions } from "./byte-source.ts";
import { HexDecoder } from "./hex.ts";
import { readExactly } from "./stream.ts";
import { type VarintArray, VarintDecoder } from "./varint-array.ts";

/** Encoded bytes per read. A varint of one byte may decode to eight bytes. */
const MAX_ENCODED_BYTES = 512 * 1024;

/** Encoded bytes and their encoding: input of {@link decodedSource}. */
export interface EncodedBytes {
  /** All encoded bytes. */
  readonly source: ByteSource;
  /** Encoding as varints; hexadecimal digits of either case if left out. */
  readonly varint?: VarintArray | undefined;
  /** Size of the decoded bytes. */
  readonly size: number;
  /** Offset of the encoded bytes in their file, in bytes, for errors. */
  readonly offset: number;
  /** Makes the error for encoded bytes that decode to another number of bytes. */
  readonly wrongSize: (found: number | "more") => Error;
}

/**
 * Makes a source of the decoded bytes. Hexadecimal digits allow random access; varints are decoded in order, from the
 * end of the last read, and a read at a lower offset starts from the beginning. The read of the last byte checks that
 * no more bytes follow, and that the file is unchanged.
 * @throws FormatError `malformed` on a read; the error that `wrongSize` makes
 */
export function decodedSource(encoded: EncodedBytes): ByteSource {
  const { source: parent, varint, size, wrongSize } = encoded;
  if (!varint && parent.size !== 2 * size) throw wrongSize(Math.floor(parent.size / 2));
  if (size === 0 && parent.size > 0) throw wrongSize("more");
  const decode = varint ? varintReader(encoded, varint) : hexReader(encoded);
  const source: ByteSource = {
    name: parent.name,
    size,
    async read(offset, length, options = {}) {
      checkRange(source, offset, length);
      const bytes = await decode(offset, length, options);
      if (offset + length === size) await parent.file?.requireUnchanged();
      return bytes;
    },
  };
  return source;
}

type Decode = (offset: number, length: number, options: ReadOptions) => Promise<Uint8Array>;

function hexReader({ source, offset: start }: EncodedBytes): Decode {
  /** Memory for digits, reused by the next read. */
  let spare: Uint8Array | undefined;
  return async (offset, length, { signal }) => {
    const at = 2 * offset;
    const decoder = new HexDecoder("any", source.name, start + at);
    if (!source.readInto) return decoder.decode(await readExactly(source, at, 2 * length, signal));
    const memory = spare && spare.byteLength >= 2 * length ? spare : new Uint8Array(2 * length);
    spare = undefined;
    const digits = memory.subarray(0, 2 * length);
    await source.readInto(digits, at, { signal });
    const bytes = decoder.decode(digits);
    spare = memory;
    return bytes;
  };
}

function varintReader({ source, size, offset: start, wrongSize }: EncodedBytes, varint: VarintArray): Decode {
  let decoder = new VarintDecoder(varint, source.name, start);
  let encoded = 0;
  /** The bytes decoded last, and their offset. */
  let piece: { readonly offset: number; readonly bytes: Uint8Array } = {
    offset: 0,
    bytes: new Uint8Array(0),
  };
  const restart = (): void => {
    decoder = new VarintDecoder(varint, source.name, start);
    encoded = 0;
    piece = { offset: 0, bytes: new Uint8Array(0) };
  };
  /** Decodes the next piece. @returns `false` at the end */
  const next = async (signal: AbortSignal | undefined): Promise<boolean> => {
    const length = Math.min(MAX_ENCODED_BYTES, source.size - encoded);
    if (length === 0) {
      decoder.end();
      return false;
    }
    const bytes = decoder.decode(await readExactly(source, encoded, length, signal));
    encoded += length;
    piece = { offset: piece.offset + piece.bytes.byteLength, bytes };
    return true;
  };
  const decode: Decode = async (offset, length, { signal }) => {
    if (offset < piece.offset) restart();
    const out = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const from = offset + filled - piece.offset;
      const part = piece.bytes.subarray(from, from + length - filled);
      out.set(part, filled);
      filled += part.byteLength;
      if (part.byteLength === 0 && !(await next(signal)))
        throw wrongSize(piece.offset + piece.bytes.byteLength);
    }
    if (offset + length < size) return out;
    const end = (): number => piece.offset + piece.bytes.byteLength;
    while (end() <= size && (await next(signal)));
    if (end() > size) throw wrongSize("more");
    return out;
  };
  let last: Promise<unknown> = Promise.resolve();
  return (offset, length, options) => {
    const result = last.then(() => decode(offset, length, options));
    // After a failure, the next read decodes from the beginning.
    last = result.catch(restart);
    return result;
  };
}
