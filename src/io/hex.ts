import { FormatError } from "../errors.ts";

/** The case of hexadecimal letters. */
export type HexCase = "upper" | "lower";

const DIGITS = { upper: "0123456789ABCDEF", lower: "0123456789abcdef" } as const;
/** Both digits of each byte as u16, the first digit in the low 8 bits. */
const PAIRS = { upper: pairsOf(DIGITS.upper), lower: pairsOf(DIGITS.lower) } as const;
/** Value of each character code; negative for a character that is not a digit. */
const VALUES = {
  upper: valuesOf((digit) => DIGITS.upper.indexOf(digit)),
  lower: valuesOf((digit) => DIGITS.lower.indexOf(digit)),
  any: valuesOf((digit) => DIGITS.upper.indexOf(digit.toUpperCase())),
} as const;

/** Encodes bytes as two digits each; upper case, as LLVM writes it, unless given. */
export function encodeHex(bytes: Uint8Array, letters: HexCase = "upper"): Uint8Array {
  const table = PAIRS[letters];
  const pairs = new Uint16Array(bytes.byteLength);
  // Use `length`: JavaScript engines do not inline `byteLength`, which is ten times slower here.
  for (let at = 0; at < bytes.length; at++) pairs[at] = table[bytes[at] as number] as number;
  return new Uint8Array(pairs.buffer);
}

/**
 * Decodes digits, two for each byte.
 * @param letters the only case to accept; both unless given
 * @returns the bytes, or the index of the first character that is not a digit
 */
export function decodeHex(digits: Uint8Array, letters: HexCase | "any" = "any"): Uint8Array | number {
  const values = VALUES[letters];
  const bytes = new Uint8Array(digits.byteLength / 2);
  // Check the sign once, at the end: a branch for each digit makes the loop several times slower.
  let all = 0;
  for (let at = 0; at < bytes.length; at++) {
    const value =
      ((values[digits[2 * at] as number] as number) << 4) | (values[digits[2 * at + 1] as number] as number);
    all |= value;
    bytes[at] = value;
  }
  return all < 0 ? digits.findIndex((code) => (values[code] as number) < 0) : bytes;
}

/** Returns the case of the first letter among digits; upper if they have no letter. */
export function hexCase(digits: Uint8Array): HexCase {
  const letter = digits.find((code) => code > 0x39);
  return letter !== undefined && letter >= 0x61 ? "lower" : "upper";
}

/** Decodes digits of one case, or of both, piece by piece. */
export class HexDecoder {
  readonly #letters: HexCase | "any";
  readonly #name: string;
  /** The first digit of a byte whose second digit is in the next piece. */
  #firstDigit: number | undefined;
  #at: number;

  /**
   * @param name name of the file, for errors
   * @param at offset of the first digit in the file, for errors
   */
  constructor(letters: HexCase | "any", name: string, at: number) {
    this.#letters = letters;
    this.#name = name;
    this.#at = at;
  }

  /** @throws FormatError `malformed` */
  decode(piece: Uint8Array): Uint8Array {
    let digits = piece;
    if (this.#firstDigit !== undefined) {
      digits = new Uint8Array(piece.byteLength + 1);
      digits[0] = this.#firstDigit;
      digits.set(piece, 1);
    }
    const odd = digits.byteLength % 2;
    const start = this.#at - (this.#firstDigit === undefined ? 0 : 1);
    this.#firstDigit = odd === 1 ? digits.at(-1) : undefined;
    this.#at += piece.byteLength;
    const bytes = decodeHex(digits.subarray(0, digits.byteLength - odd), this.#letters);
    if (typeof bytes === "number") {
      const cases = this.#letters === "any" ? "" : `, or its letters are not all ${this.#letters} case`;
      throw this.#refuse(start + bytes, `it is not a hexadecimal digit${cases}`);
    }
    return bytes;
  }

  /**
   * Ends the input.
   * @throws FormatError `malformed` for a byte with one digit
   */
  end(): void {
    if (this.#firstDigit !== undefined) throw this.#refuse(this.#at, "the last byte has one digit only");
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
