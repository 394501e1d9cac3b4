import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addScaled, type Matrix, productRows } from "../../src/lora/product.ts";

/** The definition, one element at a time. */
function naive(left: Matrix, right: Matrix, row: number, column: number): { single: number; exact: number } {
  let single = 0;
  let exact = 0;
  for (let k = 0; k < left.columns; k++) {
    const a = left.values[row * left.columns + k] as number;
    const b = right.values[k * right.columns + column] as number;
    single = Math.fround(single + a * b);
    exact += a * b;
  }
  return { single, exact };
}

function transpose({ rows, columns, values }: Matrix): Matrix {
  const turned = values.map((_, at) => values[(at % rows) * columns + Math.floor(at / rows)] as number);
  return { rows: columns, columns: rows, values: turned };
}

const matrix = (rows: number, columns: number): fc.Arbitrary<Matrix> =>
  fc
    .array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }), {
      minLength: rows * columns,
      maxLength: rows * columns,
    })
    .map((values) => ({ rows, columns, values: Float32Array.from(values) }));
const product = fc
  .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 11 }), fc.integer({ min: 1, max: 7 }))
  .chain(([rows, rank, columns]) => fc.tuple(matrix(rows, rank), matrix(rank, columns)));

describe("productRows()", () => {
  test("is the definition bit for bit, whatever the rank and whatever rows are asked for", () => {
    fc.assert(
      fc.property(product, fc.nat(5), ([left, right], first) => {
        const from = Math.min(first, left.rows - 1);
        const out = new Float32Array((left.rows - from) * right.columns).fill(7);
        productRows(left, right, from, out);
        out.forEach((value, at) => {
          const row = from + Math.floor(at / right.columns);
          const { single, exact } = naive(left, right, row, at % right.columns);
          expect(value).toBe(single);
          // Each step is off by half a unit in the last place of what has been summed up, at most 1000 × 1000 × rank.
          expect(Math.abs(value - exact)).toBeLessThanOrEqual(left.columns ** 2 * 1e6 * 2 ** -24);
        });
      }),
    );
  });

  test("is the same when both are turned", () => {
    fc.assert(
      fc.property(product, ([left, right]) => {
        const straight = new Float32Array(left.rows * right.columns);
        productRows(left, right, 0, straight);
        const turned = new Float32Array(straight.length);
        productRows(transpose(right), transpose(left), 0, turned);
        expect(transpose({ rows: right.columns, columns: left.rows, values: turned }).values).toEqual(
          straight,
        );
      }),
    );
  });

  test("rounds to float32 at every step", () => {
    // In a double the sum would be 1 + 2^-24 + 2^-24.
    const left = { rows: 1, columns: 3, values: Float32Array.of(1, 2 ** -12, 2 ** -12) };
    const right = { rows: 3, columns: 1, values: Float32Array.of(1, 2 ** -12, 2 ** -12) };
    const out = new Float32Array(1);
    productRows(left, right, 0, out);
    expect(out[0]).toBe(1);
  });
});

describe("addScaled()", () => {
  test("rounds the multiple, then the sum, and marks what it added to", () => {
    const values = Float32Array.of(1, 2, 3, 4);
    const touched = new Uint8Array(2);
    addScaled(values, Float32Array.of(0, -0, 0.1, 0), 3, touched, 2);
    expect([...touched]).toEqual([0, 1]);
    expect([...values]).toEqual([1, 2, Math.fround(3 + Math.fround(3 * Math.fround(0.1))), 4]);
  });

  test("leaves a negative zero what it is", () => {
    const values = Float32Array.of(-0);
    addScaled(values, Float32Array.of(0), 1, new Uint8Array(1), 1);
    expect(values[0]).toBe(-0);
  });
});
