import type { DType } from "../dtype.ts";
import { Q4_1, Q5_1 } from "./affine.ts";
import type { Block } from "./block.ts";
import type { Codec } from "./codec.ts";
import { BFLOAT16, FLOAT16, FLOAT32, FLOAT64 } from "./floats.ts";
import { inBlocks } from "./in-blocks.ts";
import { Q4_0, Q5_0, Q8_0 } from "./scaled.ts";
import { Q2_K, Q4_K, Q5_K } from "./super-affine.ts";
import { Q3_K, Q6_K } from "./super-scaled.ts";
import { IQ4_NL, IQ4_XS, MXFP4 } from "./tables.ts";

/** The codec of a dtype; `undefined` for dtypes that are not real numbers, or that tare cannot decode. */
export function codecOf(dtype: DType): Codec | undefined {
  return CODECS.get(dtype);
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
