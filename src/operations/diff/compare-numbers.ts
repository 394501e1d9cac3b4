import { DTYPE_BITS, type DType } from "../../tensor/dtype.ts";
import { codecOf } from "../../tensor/quantization/codec-of.ts";

/** The difference between two tensors of one dtype and shape. */
export interface Difference {
  readonly elements: number;
  /** Number of elements whose values differ; for dtypes that cannot be decoded, the number of bytes. */
  readonly changed: number;
  /** Largest absolute difference, without NaNs and infinities; `undefined` for dtypes that cannot be decoded. */
  readonly largest: number | undefined;
  /** Root mean square of the differences, divided by that of the first tensor; `undefined` if `largest` is. */
  readonly relative: number | undefined;
}

/** Array types of dtypes that compare without decoding. Other dtypes are decoded to float32, or compared by bytes. */
const ARRAYS: Partial<Record<DType, new (buffer: ArrayBuffer) => ArrayLike<number>>> = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
};

/** Compares two tensors in pieces. Both pieces have the same length: a multiple of the element or quantization block. */
export class NumberComparison {
  readonly #dtype: DType;
  #bytes = 0;
  #changed = 0;
  #largest = 0;
  #squares = 0;
  #base = 0;

  constructor(dtype: DType) {
    this.#dtype = dtype;
  }

  add(a: Uint8Array, b: Uint8Array): void {
    const left = this.#numbers(a);
    const right = this.#numbers(b);
    this.#bytes += a.byteLength;
    if (!left || !right) {
      for (let index = 0; index < a.byteLength; index++) if (a[index] !== b[index]) this.#changed++;
      return;
    }
    for (let index = 0; index < left.length; index++) {
      const x = left[index] as number;
      const y = right[index] as number;
      if (Number.isFinite(x)) this.#base += x * x;
      if (Object.is(x, y)) continue;
      this.#changed++;
      const apart = Math.abs(x - y);
      if (!Number.isFinite(apart)) continue;
      if (apart > this.#largest) this.#largest = apart;
      this.#squares += apart * apart;
    }
  }

  result(): Difference {
    const numbers = ARRAYS[this.#dtype] !== undefined || codecOf(this.#dtype) !== undefined;
    const relative =
      this.#base > 0
        ? Math.sqrt(this.#squares / this.#base)
        : this.#squares > 0
          ? Number.POSITIVE_INFINITY
          : 0;
    return {
      elements: Math.floor((this.#bytes * 8) / DTYPE_BITS[this.#dtype]),
      changed: this.#changed,
      largest: numbers ? this.#largest : undefined,
      relative: numbers ? relative : undefined,
    };
  }

  #numbers(bytes: Uint8Array): ArrayLike<number> | undefined {
    const Elements = ARRAYS[this.#dtype];
    if (Elements) return new Elements(new Uint8Array(bytes).buffer);
    const codec = codecOf(this.#dtype);
    if (!codec) return undefined;
    const values = new Float32Array((bytes.byteLength / codec.blockBytes) * codec.blockElements);
    codec.decode(bytes, values);
    return values;
  }
}
