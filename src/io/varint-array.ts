import { FormatError } from "../errors.ts";

/**
 * Little-endian integers of `width` bytes each, encoded as protobuf varints: `int32_data`, `int64_data` and
 * `uint64_data` of ONNX. Signed integers are sign-extended to 64 bits before encoding.
 */
export interface VarintArray {
  /** Bytes of one decoded integer. */
  readonly width: 1 | 2 | 4 | 8;
  readonly signed: boolean;
}

/**
 * Decodes a run of varints piece by piece; the next piece completes a varint that is cut off.
 * @throws FormatError `malformed` for an encoding that {@link encodeVarints} would not reproduce
 */
export class VarintDecoder {
  readonly #array: VarintArray;
  readonly #name: string;
  #pending = 0n;
  #shift = 0;
  #at: number;

  /**
   * @param name name of the file, for errors
   * @param at offset of the first varint in the file, for errors
   */
  constructor(array: VarintArray, name: string, at: number) {
    this.#array = array;
    this.#name = name;
    this.#at = at;
  }

  /** Decodes the varints that `piece` completes. */
  decode(piece: Uint8Array): Uint8Array {
    const { width, signed } = this.#array;
    const bits = width * 8;
    let count = 0;
    for (const byte of piece) if (byte < 0x80) count++;
    const out = new Uint8Array(count * width);
    const view = new DataView(out.buffer);
    let filled = 0;
    for (let index = 0; index < piece.byteLength; index++) {
      const byte = piece[index] as number;
      if (this.#shift > 63) throw this.#refuse(index, "a varint is over ten bytes");
      this.#pending |= BigInt(byte & 0x7f) << BigInt(this.#shift);
      this.#shift += 7;
      if (byte >= 0x80) continue;
      if (byte === 0 && this.#shift > 7) throw this.#refuse(index, "a varint is longer than it needs to be");
      if (this.#shift === 70 && byte > 1) throw this.#refuse(index, "a varint is over 64 bits");
      const value = signed ? BigInt.asIntN(64, this.#pending) : this.#pending;
      const cut = signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
      if (cut !== value) throw this.#refuse(index, `${value} does not fit ${bits} bits`);
      if (width === 1) view.setUint8(filled, Number(BigInt.asUintN(8, value)));
      else if (width === 2) view.setUint16(filled, Number(BigInt.asUintN(16, value)), true);
      else if (width === 4) view.setUint32(filled, Number(BigInt.asUintN(32, value)), true);
      else view.setBigUint64(filled, BigInt.asUintN(64, value), true);
      filled += width;
      this.#pending = 0n;
      this.#shift = 0;
    }
    this.#at += piece.byteLength;
    return out;
  }

  /**
   * Ends the input.
   * @throws FormatError `malformed` for a varint that is cut off
   */
  end(): void {
    if (this.#shift > 0) throw this.#refuse(0, "a varint is cut off");
  }

  #refuse(index: number, reason: string): FormatError {
    const offset = this.#at + index;
    return new FormatError("malformed", `Cannot parse "${this.#name}" at byte ${offset}: ${reason}`, {
      path: this.#name,
      offset,
    });
  }
}

/** Encodes integers as varints of minimal length. */
export function encodeVarints(array: VarintArray, bytes: Uint8Array): Uint8Array {
  const { width, signed } = array;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Uint8Array((bytes.byteLength / width) * 10);
  let filled = 0;
  for (let at = 0; at < bytes.byteLength; at += width) {
    let value =
      width === 8
        ? view.getBigUint64(at, true)
        : BigInt(
            width === 4
              ? view.getUint32(at, true)
              : width === 2
                ? view.getUint16(at, true)
                : view.getUint8(at),
          );
    if (signed) value = BigInt.asUintN(64, BigInt.asIntN(width * 8, value));
    while (value >= 0x80n) {
      out[filled++] = Number(value & 0x7fn) | 0x80;
      value >>= 7n;
    }
    out[filled++] = Number(value);
  }
  return out.subarray(0, filled);
}
