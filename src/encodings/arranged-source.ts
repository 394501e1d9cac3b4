import { type ByteSource, checkRange } from "../io/byte-source.ts";
import { readExactly } from "../io/stream.ts";
import { type Axis, type Block, blockAt, planBlocks, planPasses } from "./arranged-blocks.ts";
import type { ElementOrder } from "./element-order.ts";

/** The strides of a column-major array. */
export function columnMajor(shape: readonly number[]): number[] {
  let stride = 1;
  return shape.map((size) => {
    const own = stride;
    stride *= Math.max(1, size);
    return own;
  });
}

/** The strides of a row-major array. */
export function rowMajor(shape: readonly number[]): number[] {
  return columnMajor(shape.toReversed()).toReversed();
}

/**
 * A tensor's elements little-endian and row-major, however its file orders them. Made in blocks of up to 32 MiB, one at a
 * time: reads in order take each block once. A block reads its elements in the order of the file, in spans of up to 4 MiB.
 * @param parent has every element that the order names: the caller checks that
 */
export function arrangedSource(parent: ByteSource, order: ElementOrder): ByteSource {
  const { width, shape } = order;
  const size = shape.reduce((product, dimension) => product * dimension, width);
  const plan = planBlocks(order);
  let current: { readonly start: number; readonly bytes: Promise<Uint8Array> } | undefined;
  const source: ByteSource = {
    name: parent.name,
    size,
    async read(offset, length, { signal } = {}) {
      checkRange(source, offset, length);
      const out = new Uint8Array(length);
      for (let filled = 0; filled < length; ) {
        const block = blockAt(plan, Math.floor((offset + filled) / width));
        const start = block.start * width;
        if (current?.start !== start) {
          const made = { start, bytes: arrange(parent, order, block, signal) };
          current = made;
          made.bytes.catch(() => (current = current === made ? undefined : current));
        }
        const bytes = await current.bytes;
        const part = bytes.subarray(offset + filled - start, offset + length - start);
        out.set(part, filled);
        filled += part.byteLength;
      }
      if (offset + length === size) await parent.file?.requireUnchanged();
      return out;
    },
  };
  return source;
}

async function arrange(
  parent: ByteSource,
  { width, swap, flip = [] }: ElementOrder,
  block: Block,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const out = new Uint8Array(block.count * width);
  for (const { from, to, inner, outer, span } of planPasses(block, width)) {
    // The outermost axis is that of the longest way: the parent is read in order, as a compressed one has to be.
    const visit = async (axis: number, first: number, place: number): Promise<void> => {
      const around = outer[axis];
      if (around) {
        const { size, stride, step } = around;
        for (let nth = 0; nth < size; nth++) await visit(axis + 1, first + nth * stride, place + nth * step);
        return;
      }
      scatter(await readExactly(parent, first * width, span * width, signal), out, inner, place, width);
    };
    await visit(0, from, to);
  }
  if (swap > 1) reverse(out, swap);
  for (const sign of flip) {
    for (let at = sign; at < out.byteLength; at += width) out[at] = (out[at] as number) ^ 0x80;
  }
  return out;
}

/** Copies the elements of a span to their places in a block. */
function scatter(bytes: Uint8Array, out: Uint8Array, axes: readonly Axis[], to: number, width: number): void {
  const unit = width > 4 ? 4 : (width as 1 | 2 | 4);
  const words = width / unit;
  const aligned = bytes.byteOffset % unit === 0 ? bytes : bytes.slice();
  const source = wordsOf(aligned, unit);
  const target = wordsOf(out, unit);
  const visit = (axis: number, from: number, at: number): void => {
    const { size, stride, step } = axes[axis] ?? { size: 1, stride: 0, step: 0 };
    if (axis > 0) {
      for (let nth = 0; nth < size; nth++) visit(axis - 1, from + nth * stride, at + nth * step);
      return;
    }
    for (let nth = 0, read = from * words, write = at * words; nth < size; nth++) {
      for (let word = 0; word < words; word++) target[write + word] = source[read + word] as number;
      read += stride * words;
      write += step * words;
    }
  };
  visit(Math.max(0, axes.length - 1), 0, to);
}

function wordsOf(
  { buffer, byteOffset, byteLength }: Uint8Array,
  unit: 1 | 2 | 4,
): Uint8Array | Uint16Array | Uint32Array {
  if (unit === 1) return new Uint8Array(buffer, byteOffset, byteLength);
  if (unit === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

/** Reverses every unit where it is. */
function reverse(bytes: Uint8Array, unit: number): void {
  for (let start = 0; start < bytes.byteLength; start += unit) bytes.subarray(start, start + unit).reverse();
}
