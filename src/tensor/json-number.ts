import type { DType } from "./dtype.ts";
import { bfloat16Bits, bfloat16Value, float16Bits, float16Value } from "./float16.ts";

/** Conversion of the elements of one dtype from and to JSON. */
export interface JsonNumber {
  /**
   * Writes an element, little-endian, at a byte offset.
   * @returns `undefined` on success, else the fault of the value
   */
  put(view: DataView, at: number, value: unknown): JsonProblem | undefined;
  /** Reads an element back. */
  get(view: DataView, at: number): number | string | boolean;
}

/** Fault of a JSON value: of another kind, or outside of the range of the dtype. */
export type JsonProblem = "malformed" | "out-of-range";

/** Numbers that JSON lacks, by the strings that encode them. */
const NON_FINITE: ReadonlyMap<unknown, number> = new Map([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);

/** Conversions by dtype. Complex types and floats below 16 bits have none. */
export const JSON_NUMBERS: Readonly<Partial<Record<DType, JsonNumber>>> = {
  bool: {
    put: (view, at, value) => {
      if (typeof value !== "boolean") return "malformed";
      view.setUint8(at, value ? 1 : 0);
      return undefined;
    },
    get: (view, at) => view.getUint8(at) !== 0,
  },
  int8: integer(-(2 ** 7), 2 ** 7 - 1, "Int8"),
  uint8: integer(0, 2 ** 8 - 1, "Uint8"),
  int16: integer(-(2 ** 15), 2 ** 15 - 1, "Int16"),
  uint16: integer(0, 2 ** 16 - 1, "Uint16"),
  int32: integer(-(2 ** 31), 2 ** 31 - 1, "Int32"),
  uint32: integer(0, 2 ** 32 - 1, "Uint32"),
  int64: bigInteger(-(2n ** 63n), 2n ** 63n - 1n, "BigInt64"),
  uint64: bigInteger(0n, 2n ** 64n - 1n, "BigUint64"),
  float16: float(
    (view, at, value) => view.setUint16(at, float16Bits(value), true),
    (view, at) => float16Value(view.getUint16(at, true)),
  ),
  bfloat16: float(
    (view, at, value) => view.setUint16(at, bfloat16Bits(value), true),
    (view, at) => bfloat16Value(view.getUint16(at, true)),
  ),
  float32: float(
    (view, at, value) => view.setFloat32(at, value, true),
    (view, at) => view.getFloat32(at, true),
  ),
  float64: float(
    (view, at, value) => view.setFloat64(at, value, true),
    (view, at) => view.getFloat64(at, true),
  ),
};

function integer(
  lowest: number,
  highest: number,
  kind: "Int8" | "Uint8" | "Int16" | "Uint16" | "Int32" | "Uint32",
): JsonNumber {
  return {
    put: (view, at, value) => {
      if (typeof value !== "number" || !Number.isInteger(value)) return "malformed";
      if (value < lowest || value > highest) return "out-of-range";
      view[`set${kind}`](at, value, true);
      return undefined;
    },
    get: (view, at) => view[`get${kind}`](at, true),
  };
}

/** Accepts decimal strings too, and requires them past 2^53: `JSON.parse` rounds larger numbers. */
function bigInteger(lowest: bigint, highest: bigint, kind: "BigInt64" | "BigUint64"): JsonNumber {
  return {
    put: (view, at, value) => {
      let big: bigint;
      if (typeof value === "number" && Number.isInteger(value)) {
        if (!Number.isSafeInteger(value)) return "out-of-range";
        big = BigInt(value);
      } else if (typeof value === "string" && /^-?\d{1,20}$/.test(value)) big = BigInt(value);
      else return "malformed";
      if (big < lowest || big > highest) return "out-of-range";
      view[`set${kind}`](at, big, true);
      return undefined;
    },
    get: (view, at) => {
      const big = view[`get${kind}`](at, true);
      const number = Number(big);
      return Number.isSafeInteger(number) ? number : String(big);
    },
  };
}

function float(
  set: (view: DataView, at: number, value: number) => void,
  get: (view: DataView, at: number) => number,
): JsonNumber {
  return {
    put: (view, at, value) => {
      const number = NON_FINITE.get(value) ?? value;
      if (typeof number !== "number") return "malformed";
      set(view, at, number);
      // Accept an infinity as a string only: `JSON.parse` turns 1e999 into one too.
      return NON_FINITE.has(value) || Number.isFinite(get(view, at)) ? undefined : "out-of-range";
    },
    get: (view, at) => {
      const number = get(view, at);
      return Number.isFinite(number) ? number : String(number);
    },
  };
}
