import type { FileFail } from "../../errors.ts";
import { MAGIC } from "./schema.ts";

/** The header of an array. */
export interface NpyHeader {
  /** NumPy's name for the type of the elements, such as `<f4`. */
  readonly descr: string;
  /** Whether the first dimension varies fastest. */
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  /** Start of the elements, in bytes from the start of the array. */
  readonly dataStart: number;
}

/** Longest header, in bytes: the limit of version 1. Only structured types, which are refused, need more. */
const LONGEST = 65_535;
/** NPY_MAXDIMS of NumPy 2. */
export const MAX_RANK = 64;
/** NumPy leaves room to grow the first dimension in place. */
const GROWTH_DIGITS = 21;
const ALIGNMENT = 64;

/**
 * The number of bytes that {@link parseNpyHeader} needs, by the first 12 bytes of an array.
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`, `too-large`
 */
export function npyHeaderSize(bytes: Uint8Array, fail: FileFail): number {
  const known = bytes.subarray(0, MAGIC.length);
  if (known.length < MAGIC.length || known.some((byte, index) => byte !== MAGIC[index])) {
    throw fail("unknown-format", "it does not start as a .npy file does", { offset: 0 });
  }
  const major = bytes[6];
  const start = major === 1 ? 10 : 12;
  if (bytes.byteLength < start || major === undefined) {
    throw fail("malformed", `it ends at byte ${bytes.byteLength}, inside its header`, {
      offset: bytes.byteLength,
    });
  }
  if (major < 1 || major > 3 || bytes[7] !== 0) {
    throw fail("unsupported", `its .npy version is ${major}.${bytes[7]}`, { offset: 6 });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > LONGEST) throw fail("too-large", `its header has ${length} bytes`, { offset: 8 });
  return start + length;
}

/**
 * Parses the header of a .npy file: versions 1.0, 2.0 and 3.0.
 * Source: numpy.lib.format, "Format Version 1.0" and after.
 * @throws FormatError `unknown-format`, `malformed`, `unsupported`, `too-large`
 */
export function parseNpyHeader(bytes: Uint8Array, fail: FileFail): NpyHeader {
  const dataStart = npyHeaderSize(bytes, fail);
  const start = bytes[6] === 1 ? 10 : 12;
  if (dataStart > bytes.byteLength) {
    throw fail("malformed", `its header ends at byte ${dataStart}, past the end at ${bytes.byteLength}`, {
      offset: start,
    });
  }
  // Version 3 is UTF-8, for the field names of structured types. Everything accepted here is ASCII.
  const text = new TextDecoder("latin1").decode(bytes.subarray(start, dataStart));
  return { ...parseDict(text, start, fail), dataStart };
}

interface Cursor {
  at: number;
  /** Matches a sticky pattern here. @returns its last group */
  take(pattern: RegExp, what: string): string;
}

/** Parses the Python dictionary of a header: three keys, in any order. */
function parseDict(text: string, start: number, fail: FileFail): Omit<NpyHeader, "dataStart"> {
  const cursor: Cursor = {
    at: 0,
    take(pattern, what) {
      pattern.lastIndex = cursor.at;
      const found = pattern.exec(text);
      if (!found) throw fail("malformed", `its header lacks ${what}`, { offset: start + cursor.at });
      cursor.at += found[0].length;
      return found.at(-1) ?? "";
    },
  };
  let descr: string | undefined;
  let fortranOrder: boolean | undefined;
  let shape: number[] | undefined;
  cursor.take(/\s*\{\s*/y, "its dictionary");
  while (text[cursor.at] !== "}") {
    const at = start + cursor.at;
    const key = cursor.take(/(['"])(\w{1,20})\1\s*:\s*/y, "a key");
    const value = start + cursor.at;
    if (key === "descr" && descr === undefined) {
      if (text[cursor.at] === "[")
        throw fail("unsupported", "its elements are structures", { offset: value });
      descr = cursor.take(/(['"])([^'"\\]{1,40})\1/y, "a type");
    } else if (key === "fortran_order" && fortranOrder === undefined) {
      fortranOrder = cursor.take(/(True|False)/y, "True or False") === "True";
    } else if (key === "shape" && shape === undefined) {
      shape = parseShape(cursor.take(/\(([\d\sL,]*)\)/y, "a shape"), value, fail);
    } else throw fail("malformed", `its header has "${key}", unknown or twice`, { offset: at });
    cursor.take(/\s*(?:,\s*|(?=\}))/y, "a comma");
  }
  cursor.take(/\}\s*$/y, "an end");
  if (descr === undefined || fortranOrder === undefined || shape === undefined) {
    throw fail("malformed", "its header lacks descr, fortran_order or shape", { offset: start });
  }
  return { descr, fortranOrder, shape };
}

/** Parses the inside of a Python tuple of whole numbers. */
function parseShape(inner: string, offset: number, fail: FileFail): number[] {
  const parts = inner.split(",").map((part) => part.trim());
  const trailing = parts.at(-1) === "";
  if (trailing) parts.pop();
  // In Python `(3)` is a number: a tuple of one element has a comma.
  const tuple = parts.length !== 1 || trailing;
  // NumPy under Python 2 wrote long numbers as `3L`.
  if (!tuple || !parts.every((part) => /^(?:0|[1-9]\d*)L?$/.test(part))) {
    throw fail("malformed", `its shape is (${inner.slice(0, 80)})`, { offset });
  }
  if (parts.length > MAX_RANK) throw fail("too-large", `it has ${parts.length} dimensions`, { offset });
  const shape = parts.map((part) => Number.parseInt(part, 10));
  if (!shape.every(Number.isSafeInteger)) throw fail("too-large", `its shape is (${inner})`, { offset });
  return shape;
}

/** Encodes the header of a row-major array, version 1.0, byte for byte as `numpy.save`. */
export function encodeNpyHeader(descr: string, shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const growth = shape.length === 0 ? 0 : GROWTH_DIGITS - String(shape[0]).length;
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }${" ".repeat(growth)}`;
  const unpadded = MAGIC.length + 4 + dict.length + 1;
  const text = `${dict.padEnd(dict.length + ALIGNMENT - (unpadded % ALIGNMENT))}\n`;
  const bytes = new Uint8Array(MAGIC.length + 4 + text.length);
  bytes.set(MAGIC);
  bytes.set([1, 0, text.length & 0xff, text.length >> 8], MAGIC.length);
  bytes.set(new TextEncoder().encode(text), MAGIC.length + 4);
  return bytes;
}
