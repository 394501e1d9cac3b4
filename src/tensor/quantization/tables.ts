import { type Block, float16At } from "./block.ts";

/** Levels of IQ4: denser around zero. */
const UNEVEN = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
/** Twice the values of a four-bit float (two bits of exponent, one of mantissa). */
const FLOAT4 = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** Scale × one of sixteen uneven levels, 32 to a scale. */
export const IQ4_NL: Block = {
  elements: 32,
  bytes: 18,
  decode(bytes, at, out, to) {
    lookUp(UNEVEN, float16At(bytes, at), bytes, at + 2, out, to);
  },
};

/** As IQ4_NL, with eight scales of six bits that share one. */
export const IQ4_XS: Block = {
  elements: 256,
  bytes: 136,
  decode(bytes, at, out, to) {
    const scale = float16At(bytes, at);
    const upper = (bytes[at + 2] as number) | ((bytes[at + 3] as number) << 8);
    for (let part = 0; part < 8; part++) {
      const low = ((bytes[at + 4 + (part >> 1)] as number) >> (4 * (part & 1))) & 15;
      const level = (low | (((upper >> (2 * part)) & 3) << 4)) - 32;
      lookUp(UNEVEN, scale * level, bytes, at + 8 + 16 * part, out, to + 32 * part);
    }
  },
};

/** A power of two × a four-bit float, 32 to a power (the OCP microscaling format). */
export const MXFP4: Block = {
  elements: 32,
  bytes: 17,
  decode(bytes, at, out, to) {
    // One less than the format's exponent bias asks for, since the table is doubled.
    lookUp(FLOAT4, 2 ** ((bytes[at] as number) - 128), bytes, at + 1, out, to);
  },
};

function lookUp(
  table: Int8Array,
  scale: number,
  bytes: Uint8Array,
  at: number,
  out: Float32Array,
  to: number,
): void {
  for (let index = 0; index < 16; index++) {
    const pair = bytes[at + index] as number;
    out[to + index] = scale * (table[pair & 15] as number);
    out[to + index + 16] = scale * (table[pair >> 4] as number);
  }
}
