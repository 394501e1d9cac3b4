import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import { FormatError, LinkError } from "../errors.ts";
import type { Weight } from "../model/config.ts";
import { DTYPE_BITS } from "../tensor/dtype.ts";
import type { Codec } from "../tensor/quantization/codec.ts";
import { codecOf } from "../tensor/quantization/codec-of.ts";
import { shapeText } from "./adapter.ts";
import type { LoraTerm } from "./factors.ts";
import { matrixShape } from "./matrix-shape.ts";
import { addScaled, productRows } from "./product.ts";

/** Number of bytes of the base that are merged at a time. Memory also has their float32 values and products. */
const CHUNK = 1024 * 1024;

/** The effect of a merge on a weight. */
export interface MergeReport {
  /** Number of blocks (for unquantized floats: elements) whose bytes may have changed. */
  touchedBlocks: number;
  /** Largest error of a value by quantizing it again, as the dtype guarantees it; 0 for unquantized floats. */
  errorBound: number;
}

/** A codec that decodes and encodes. */
type TwoWay = Codec & { readonly encode: NonNullable<Codec["encode"]> };

/**
 * Finds the codec that decodes and encodes a weight of the base.
 * @throws LinkError `unsupported` for a dtype that tare cannot encode
 */
export function mergeCodec({ name, dtype, shape }: Weight): TwoWay {
  const codec = codecOf(dtype);
  if (matrixShape(shape) && isTwoWay(codec)) return codec;
  const why = isTwoWay(codec) ? `it has the shape ${shapeText(shape)}` : `tare cannot encode ${dtype}`;
  throw new LinkError("unsupported", `Cannot merge into "${name}": ${why}`, {
    tensor: name,
    hint: "Apply the LoRA while the model runs (tare run --adapter), or merge into a float16 model",
  });
}

function isTwoWay(codec: Codec | undefined): codec is TwoWay {
  return codec?.encode !== undefined;
}

/**
 * Merges LoRAs into a weight, some rows at a time: w' = round(w + scale₁·Δ₁ + scale₂·Δ₂ …), in float32 and in that
 * order, rounded once to the dtype of the weight. A block (for unquantized floats: an element) keeps its bytes if only
 * zeros are added to it, or if it has NaN or infinity.
 * @param source bytes of the weight
 * @param report receives the effect of the merge
 * @returns chunks of the new bytes; a chunk is valid until the next one
 * @throws LinkError `out-of-range` for a value that the dtype cannot represent
 */
export async function* mergeWeight(
  weight: Weight,
  source: ByteSource,
  terms: readonly LoraTerm[],
  report: MergeReport,
  options: ReadOptions = {},
): AsyncGenerator<{ readonly before: Uint8Array; readonly after: Uint8Array }> {
  const codec = mergeCodec(weight);
  const [rows, columns] = matrixShape(weight.shape) as readonly [number, number];
  const rowBytes = (columns * DTYPE_BITS[weight.dtype]) / 8;
  const most = Math.max(1, Math.min(rows, Math.floor(CHUNK / Math.max(1, rowBytes))));
  const values = new Float32Array(most * columns);
  const delta = new Float32Array(most * columns);
  const flags = new Uint8Array((most * columns) / codec.blockElements);
  const encoded = new Uint8Array(most * rowBytes);
  if (columns === 0) return;
  for (let row = 0; row < rows; row += most) {
    const count = Math.min(most, rows - row);
    const before = await source.read(row * rowBytes, count * rowBytes, options);
    const some = values.subarray(0, count * columns);
    codec.decode(before, some);
    const touched = flags.subarray(0, some.length / codec.blockElements).fill(0);
    const odd = oddBlocks(some, codec.blockElements);
    for (const { left, right, scale } of terms) {
      const product = delta.subarray(0, some.length);
      productRows(left, right, row, product);
      addScaled(some, product, scale, touched, codec.blockElements);
    }
    for (const block of odd) {
      touched[block] = 0;
      some.fill(0, block * codec.blockElements, (block + 1) * codec.blockElements);
    }
    const after = encoded.subarray(0, before.byteLength);
    encode(weight, codec, some, after, row * columns);
    keepUntouched(codec, touched, before, after);
    account(codec, touched, some, report);
    yield { before, after };
  }
}

/** Finds blocks with NaN or infinity. */
function oddBlocks(values: Float32Array, blockElements: number): number[] {
  const odd = new Set<number>();
  for (let at = 0; at < values.length; at++) {
    // x - x differs from 0 only for NaN and infinity.
    if ((values[at] as number) - (values[at] as number) !== 0) odd.add(Math.floor(at / blockElements));
  }
  return [...odd];
}

function encode(weight: Weight, codec: TwoWay, values: Float32Array, out: Uint8Array, first: number): void {
  const refuse = (reason: string, cause?: unknown): LinkError =>
    new LinkError("out-of-range", `Cannot merge into "${weight.name}": ${reason}`, {
      tensor: weight.name,
      hint: "Use a smaller scale",
      cause,
    });
  const odd = oddBlocks(values, 1)[0];
  if (odd !== undefined) throw refuse(`element ${first + odd} would be ${values[odd]}`);
  try {
    codec.encode(values, out);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw refuse(`from element ${first} on, a value is out of the range of ${weight.dtype}`, error);
  }
}

function keepUntouched(
  { blockBytes }: Codec,
  touched: Uint8Array,
  before: Uint8Array,
  after: Uint8Array,
): void {
  for (let block = 0; block < touched.length; block++) {
    if (touched[block]) continue;
    const at = block * blockBytes;
    for (let byte = at; byte < at + blockBytes; byte++) after[byte] = before[byte] as number;
  }
}

function account(codec: Codec, touched: Uint8Array, values: Float32Array, report: MergeReport): void {
  const { blockElements, bound } = codec;
  for (let block = 0; block < touched.length; block++) {
    if (!touched[block]) continue;
    report.touchedBlocks++;
    if (blockElements === 1) continue;
    const worst = bound?.(values.subarray(block * blockElements, (block + 1) * blockElements)) ?? 0;
    if (worst > report.errorBound) report.errorBound = worst;
  }
}
