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

/** Of the base, at a time. Its elements are held as float32, and the products beside them. */
const CHUNK = 1024 * 1024;

/** What merging did to a weight. */
export interface MergeReport {
  /** Blocks whose bytes may have changed; for plain floats elements. */
  touchedBlocks: number;
  /** The most by which quantizing again moved a value, as the type guarantees it; 0 for plain floats. */
  errorBound: number;
}

/** A codec that goes both ways. */
type TwoWay = Codec & { readonly encode: NonNullable<Codec["encode"]> };

/**
 * How a base's weight is decoded and encoded again.
 * @throws LinkError `unsupported`, naming the type, for those that tare does not write
 */
export function mergeCodec({ name, dtype, shape }: Weight): TwoWay {
  const codec = codecOf(dtype);
  if (matrixShape(shape) && isTwoWay(codec)) return codec;
  const why = isTwoWay(codec) ? `it has the shape ${shapeText(shape)}` : `tare does not write ${dtype}`;
  throw new LinkError("unsupported", `Cannot merge into "${name}": ${why}`, {
    tensor: name,
    hint: "lay the LoRA over the model while it runs (tare run --adapter), or merge into a float16 model",
  });
}

function isTwoWay(codec: Codec | undefined): codec is TwoWay {
  return codec?.encode !== undefined;
}

/**
 * Merges LoRAs into a weight, some rows at a time: w' = round(w + scale₁·Δ₁ + scale₂·Δ₂ …), in float32 and in that
 * order, rounded once to the weight's own type. A block (for plain floats an element) to which nothing but zeros are
 * added keeps its bytes, and so does one of the base that holds NaN or infinity.
 * @param source the weight's bytes
 * @param report is filled in on the way
 * @returns the new bytes, piece by piece; each is valid until the next
 * @throws LinkError `out-of-range` where a value does not fit the type any more
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

/** Blocks that hold NaN or infinity. */
function oddBlocks(values: Float32Array, blockElements: number): number[] {
  const odd = new Set<number>();
  for (let at = 0; at < values.length; at++) {
    // Infinity and NaN are all that differ from themselves.
    if ((values[at] as number) - (values[at] as number) !== 0) odd.add(Math.floor(at / blockElements));
  }
  return [...odd];
}

function encode(weight: Weight, codec: TwoWay, values: Float32Array, out: Uint8Array, first: number): void {
  const refuse = (reason: string, cause?: unknown): LinkError =>
    new LinkError("out-of-range", `Cannot merge into "${weight.name}": ${reason}`, {
      tensor: weight.name,
      hint: "use a smaller scale",
      cause,
    });
  const odd = oddBlocks(values, 1)[0];
  if (odd !== undefined) throw refuse(`element ${first + odd} would be ${values[odd]}`);
  try {
    codec.encode(values, out);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw refuse(`from element ${first} on, a value does not fit ${weight.dtype} any more`, error);
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
