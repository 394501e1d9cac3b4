/** A row-major matrix of float32. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

/**
 * Computes rows of the product left × right. Sums each element over the rank in order, from 0. The product of two float32
 * values is exact in a double, and the sum is rounded to float32 at every step, as a fused multiply-add does. Most
 * libraries give the same values, except for those that use another order.
 * @param first index of the first row
 * @param out receives complete rows; its length determines their number
 */
export function productRows(left: Matrix, right: Matrix, first: number, out: Float32Array): void {
  const { fround } = Math;
  const { columns: rank, values: a } = left;
  const { columns, values: b } = right;
  out.fill(0);
  for (let row = 0, at = 0; at < out.length; row++, at += columns) {
    const from = (first + row) * rank;
    let k = 0;
    // Four at a time: a third of the loads and stores, with equal sums.
    for (; k + 4 <= rank; k += 4) {
      const [a0, a1] = [a[from + k] as number, a[from + k + 1] as number];
      const [a2, a3] = [a[from + k + 2] as number, a[from + k + 3] as number];
      const b0 = k * columns;
      const b1 = b0 + columns;
      const b2 = b1 + columns;
      const b3 = b2 + columns;
      for (let j = 0; j < columns; j++) {
        let sum = fround((out[at + j] as number) + a0 * (b[b0 + j] as number));
        sum = fround(sum + a1 * (b[b1 + j] as number));
        sum = fround(sum + a2 * (b[b2 + j] as number));
        out[at + j] = sum + a3 * (b[b3 + j] as number);
      }
    }
    for (; k < rank; k++) {
      const value = a[from + k] as number;
      const start = k * columns;
      for (let j = 0; j < columns; j++)
        out[at + j] = (out[at + j] as number) + value * (b[start + j] as number);
    }
  }
}

/**
 * Adds a multiple in float32. Rounds the multiple, then the sum.
 * @param touched receives 1 for each block of `blockElements` to which a value other than 0 is added
 */
export function addScaled(
  values: Float32Array,
  delta: Float32Array,
  scale: number,
  touched: Uint8Array,
  blockElements: number,
): void {
  const { fround } = Math;
  const factor = fround(scale);
  for (let block = 0, at = 0; block < touched.length; block++) {
    for (const end = at + blockElements; at < end; at++) {
      const more = fround(factor * (delta[at] as number));
      if (more === 0) continue;
      touched[block] = 1;
      values[at] = (values[at] as number) + more;
    }
  }
}
