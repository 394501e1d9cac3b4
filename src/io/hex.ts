import { FormatError } from "../errors.ts";

/** Which letters hexadecimal digits have. */
export type HexCase = "upper" | "lower";

const DIGITS = { upper: "0123456789ABCDEF", lower: "0123456789abcdef" } as const;
/** Both digits of each byte, the first one in the low half. */
const PAIRS = { upper: pairsOf(DIGITS.upper), lower: pairsOf(DIGITS.lower) } as const;
/** What each character is worth; below 0 for what is no digit. */
const VALUES = {
  upper: valuesOf((digit) => DIGITS.upper.indexOf(digit)),
  lower: valuesOf((digit) => DIGITS.lower.indexOf(digit)),
  any: valuesOf((digit) => DIGITS.upper.indexOf(digit.toUpperCase())),
} as const;

/** Spells bytes as two digits each, in upper case as LLVM does unless told. */
export function encodeHex(bytes: Uint8Array, letters: HexCase = "upper"): Uint8Array {
  const table = PAIRS[letters];
  const pairs = new Uint16Array(bytes.byteLength);
  // `length`, since engines do not inline `byteLength`: that is ten times slower.
  for (let at = 0; at < bytes.length; at++) pairs[at] = table[bytes[at] as number] as number;
  return new Uint8Array(pairs.buffer);
}

/**
 * Reads digits, two for a byte.
 * @param letters refuses those of the other case, if given
 * @returns the bytes, or the place of the first character that is no digit
 */
export function decodeHex(digits: Uint8Array, letters: HexCase | "any" = "any"): Uint8Array | number {
  const values = VALUES[letters];
  const bytes = new Uint8Array(digits.byteLength / 2);
  // Looked at once, at the end: a branch for each digit makes this several times slower.
  let all = 0;
  for (let at = 0; at < bytes.length; at++) {
    const value =
      ((values[digits[2 * at] as number] as number) << 4) | (values[digits[2 * at + 1] as number] as number);
    all |= value;
    bytes[at] = value;
  }
  return all < 0 ? digits.findIndex((code) => (values[code] as number) < 0) : bytes;
}

/** The case of digits, by the first letter among them; upper where there is none. */
export function hexCase(digits: Uint8Array): HexCase {
  const letter = digits.find((code) => code > 0x39);
  return letter !== undefined && letter >= 0x61 ? "lower" : "upper";
}

/** Decodes digits of one case, or of either, piece by piece. */
export class HexDecoder {
  readonly #letters: HexCase | "any";
  readonly #name: string;
  /** A first digit whose second has not come. */
  #half: number | undefined;
  #at: number;

  /** @param name and `at`: the file and offset for errors */
  constructor(letters: HexCase | "any", name: string, at: number) {
    this.#letters = letters;
    this.#name = name;
    this.#at = at;
  }

  /** @throws FormatError `malformed` */
  decode(piece: Uint8Array): Uint8Array {
    let digits = piece;
    if (this.#half !== undefined) {
      digits = new Uint8Array(piece.byteLength + 1);
      digits[0] = this.#half;
      digits.set(piece, 1);
    }
    const odd = digits.byteLength % 2;
    const start = this.#at - (this.#half === undefined ? 0 : 1);
    this.#half = odd === 1 ? digits.at(-1) : undefined;
    this.#at += piece.byteLength;
    const bytes = decodeHex(digits.subarray(0, digits.byteLength - odd), this.#letters);
    if (typeof bytes === "number") {
      const cases = this.#letters === "any" ? "" : `, or its letters are not all ${this.#letters} case`;
      throw this.#refuse(start + bytes, `it is no hexadecimal digit${cases}`);
    }
    return bytes;
  }

  /** Says that no more comes. */
  end(): void {
    if (this.#half !== undefined) throw this.#refuse(this.#at, "a byte has one digit alone");
  }

  #refuse(offset: number, reason: string): FormatError {
    return new FormatError("malformed", `Cannot parse "${this.#name}" at byte ${offset}: ${reason}`, {
      path: this.#name,
      offset,
    });
  }
}

function pairsOf(digits: string): Uint16Array {
  return Uint16Array.from({ length: 256 }, (_, byte) => {
    return digits.charCodeAt(byte >> 4) | (digits.charCodeAt(byte & 15) << 8);
  });
}

function valuesOf(value: (digit: string) => number): Int16Array {
  return Int16Array.from({ length: 256 }, (_, code) => value(String.fromCharCode(code)));
}
