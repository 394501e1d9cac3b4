import { type HexCase, HexDecoder, encodeHex } from "./hex.ts";
import { encodeVarints, type VarintArray, VarintDecoder } from "./varint-array.ts";

/** How a file encodes the bytes of a weight; plain bytes if no field is set. At most one field is set. */
export interface ByteEncoding {
  /** Varints, as in a protobuf message. */
  readonly varint?: VarintArray | undefined;
  /** Two hexadecimal digits for each byte, as in a text file. */
  readonly hex?: HexCase | undefined;
}

/** Decodes the encoded bytes of a file, piece by piece. */
export interface ByteDecoder {
  /**
   * Decodes the elements that a piece completes.
   * @throws FormatError `malformed` for an encoding that {@link encodeBytes} would not reproduce
   */
  decode(piece: Uint8Array): Uint8Array;
  /**
   * Ends the input.
   * @throws FormatError `malformed` if an element is incomplete
   */
  end(): void;
}

/** Whether a file stores the weight encoded, not as plain bytes. */
export function isEncoded({ varint, hex }: ByteEncoding): boolean {
  return varint !== undefined || hex !== undefined;
}

/** Returns only the fields of the encoding. */
export function encodingOf({ varint, hex }: ByteEncoding): { varint?: VarintArray; hex?: HexCase } {
  return { ...(varint && { varint }), ...(hex && { hex }) };
}

/**
 * Creates a decoder for an encoding; `undefined` for plain bytes.
 * @param name name of the file, for errors
 * @param at offset of the first encoded byte in the file, for errors
 */
export function createDecoder(
  { varint, hex }: ByteEncoding,
  name: string,
  at: number,
): ByteDecoder | undefined {
  if (varint) return new VarintDecoder(varint, name, at);
  return hex && new HexDecoder(hex, name, at);
}

/**
 * Encodes bytes as a file stores them.
 * @param bytes whole elements
 */
export function encodeBytes({ varint, hex }: ByteEncoding, bytes: Uint8Array): Uint8Array {
  if (varint) return encodeVarints(varint, bytes);
  return hex ? encodeHex(bytes, hex) : bytes;
}

/** Returns a key that is equal for equal encodings. */
export function encodingKey({ varint, hex }: ByteEncoding): string {
  return varint ? `:${varint.width}${varint.signed ? "s" : "u"}` : hex ? `:hex-${hex}` : "";
}
