import { type HexCase, HexDecoder, encodeHex } from "./hex.ts";
import { encodeVarints, type VarintArray, VarintDecoder } from "./varint-array.ts";

/** How a file spells the bytes of a weight, where it does not have them as they are. At most one is set. */
export interface ByteEncoding {
  /** Numbers of varying length, as in a protobuf message. */
  readonly varint?: VarintArray | undefined;
  /** Two hexadecimal digits for each byte, as in a text. */
  readonly hex?: HexCase | undefined;
}

/** Turns what a file has, piece by piece, into the bytes that it stands for. */
export interface ByteDecoder {
  /**
   * Decodes what a piece completes.
   * @throws FormatError `malformed` for a spelling that {@link encodeBytes} would not give back
   */
  decode(piece: Uint8Array): Uint8Array;
  /** Says that no more comes. */
  end(): void;
}

/** Whether a file has other bytes than the weight's own. */
export function isEncoded({ varint, hex }: ByteEncoding): boolean {
  return varint !== undefined || hex !== undefined;
}

/** Only the spelling of something that has one. */
export function encodingOf({ varint, hex }: ByteEncoding): { varint?: VarintArray; hex?: HexCase } {
  return { ...(varint && { varint }), ...(hex && { hex }) };
}

/**
 * What decodes a spelling; `undefined` where there is none.
 * @param name and `at`: file and offset for errors
 */
export function createDecoder(
  { varint, hex }: ByteEncoding,
  name: string,
  at: number,
): ByteDecoder | undefined {
  if (varint) return new VarintDecoder(varint, name, at);
  return hex && new HexDecoder(hex, name, at);
}

/** Spells bytes as a file has them: whole elements. */
export function encodeBytes({ varint, hex }: ByteEncoding, bytes: Uint8Array): Uint8Array {
  if (varint) return encodeVarints(varint, bytes);
  return hex ? encodeHex(bytes, hex) : bytes;
}

/** What tells two spellings apart. */
export function encodingKey({ varint, hex }: ByteEncoding): string {
  return varint ? `:${varint.width}${varint.signed ? "s" : "u"}` : hex ? `:hex-${hex}` : "";
}
