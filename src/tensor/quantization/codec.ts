import type { DType } from "../dtype.ts";
import { Q4_1, Q5_1 } from "./affine.ts";
import type { Block } from "./block.ts";
import { BFLOAT16, FLOAT16, FLOAT32, FLOAT64 } from "./floats.ts";
import { inBlocks } from "./in-blocks.ts";
import { Q4_0, Q5_0, Q8_0 } from "./scaled.ts";
import { Q2_K, Q4_K, Q5_K } from "./super-affine.ts";
import { Q3_K, Q6_K } from "./super-scaled.ts";
import { IQ4_NL, IQ4_XS, MXFP4 } from "./tables.ts";

/** Elements of one dtype as float32, and back. Whole blocks only. */
export interface Codec {
  /** Elements in a block; 1 for plain floats. */
  readonly blockElements: number;
  /** Bytes of a block. */
  readonly blockBytes: number;
  /**
   * Decodes whole blocks to float32: `out.length === bytes.length / blockBytes * blockElements`. The values are those
   * of ggml, bit for bit; which NaN a scale gives that is none is not said.
   * @param bytes little-endian, at any alignment
   * @throws RangeError if the lengths do not fit
   */
  decode(bytes: Uint8Array, out: Float32Array): void;
  /**
   * Encodes; `undefined` where tare only decodes. Each value is rounded once. Plain floats keep infinities and NaNs.
   * @throws FormatError `out-of-range`, which names the element but not the tensor, for what cannot be encoded: NaN and
   * infinity in a block, and magnitudes past what its float16 scale reaches; for plain floats a finite value that would
   * become infinity. `out` may then be partly written.
   * @throws RangeError if the lengths do not fit
   */
  readonly encode?: (values: Float32Array, out: Uint8Array) => void;
  /**
   * The most by which a decoded value may be off from the one that was encoded, absolutely; given is one block of what
   * {@link encode} takes. It follows from the block; where the largest magnitude in it is A, it is at most
   * float16 A/2048 + 2^-25, bfloat16 A/256 + 2^-134, q4_0 A/7.9 + 2^-22, q5_0 A/15.8 + 2^-21, q4_1 A/14.5 + 2^-21,
   * q5_1 A/29 + 2^-20, q8_0 A/225 + 2^-18, q4_k A/9.7 + 2^-24, q5_k A/20 + 2^-24, q6_k A/41 + 2^-24; float32 is exact.
   * The small powers of two are what is lost where a float16 scale is subnormal, or 0.
   */
  readonly bound?: (block: Float32Array) => number;
}

const BLOCKS: Readonly<Partial<Record<DType, Block>>> = {
  q4_0: Q4_0,
  q4_1: Q4_1,
  q5_0: Q5_0,
  q5_1: Q5_1,
  q8_0: Q8_0,
  q2_k: Q2_K,
  q3_k: Q3_K,
  q4_k: Q4_K,
  q5_k: Q5_K,
  q6_k: Q6_K,
  iq4_nl: IQ4_NL,
  iq4_xs: IQ4_XS,
  mxfp4: MXFP4,
};

const CODECS: ReadonlyMap<string, Codec> = new Map(
  Object.entries({
    float32: FLOAT32,
    float16: FLOAT16,
    bfloat16: BFLOAT16,
    float64: FLOAT64,
    ...Object.fromEntries(Object.entries(BLOCKS).map(([dtype, block]) => [dtype, inBlocks(dtype, block)])),
  }).map(([dtype, codec]) => [dtype, withLengthsChecked(codec)]),
);

/** `undefined` for dtypes that are no real numbers, or that tare cannot decode. */
export function codecOf(dtype: DType): Codec | undefined {
  return CODECS.get(dtype);
}

function withLengthsChecked(codec: Codec): Codec {
  const { encode } = codec;
  const check = (bytes: number, elements: number): void => {
    const blocks = bytes / codec.blockBytes;
    if (Number.isInteger(blocks) && elements === blocks * codec.blockElements) return;
    throw new RangeError(
      `${bytes} bytes are not ${elements} elements in blocks of ${codec.blockElements} elements and ${codec.blockBytes} bytes`,
    );
  };
  return {
    ...codec,
    decode(bytes, out) {
      check(bytes.length, out.length);
      codec.decode(bytes, out);
    },
    ...(encode && {
      encode(values: Float32Array, out: Uint8Array) {
        check(out.length, values.length);
        encode(values, out);
      },
    }),
  };
}
