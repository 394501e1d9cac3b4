const DIGITS = "0123456789ABCDEF";
/** Both digits of each byte, the first one in the low half. */
const PAIRS: Uint16Array = Uint16Array.from({ length: 256 }, (_, byte) => {
  return DIGITS.charCodeAt(byte >> 4) | (DIGITS.charCodeAt(byte & 15) << 8);
});
/** What each character is worth; below 0 for what is no digit. */
const VALUES: Int16Array = Int16Array.from({ length: 256 }, (_, code) => {
  return DIGITS.indexOf(String.fromCharCode(code).toUpperCase());
});

/** Spells bytes as two digits each, in upper case as LLVM does. */
export function encodeHex(bytes: Uint8Array): Uint8Array {
  const pairs = new Uint16Array(bytes.byteLength);
  // `length`, since engines do not inline `byteLength`: that is ten times slower.
  for (let at = 0; at < bytes.length; at++) pairs[at] = PAIRS[bytes[at] as number] as number;
  return new Uint8Array(pairs.buffer);
}

/**
 * Reads digits, two for a byte.
 * @returns the bytes, or the place of the first character that is no digit
 */
export function decodeHex(digits: Uint8Array): Uint8Array | number {
  const bytes = new Uint8Array(digits.byteLength / 2);
  // Looked at once, at the end: a branch for each digit makes this several times slower.
  let all = 0;
  for (let at = 0; at < bytes.length; at++) {
    const value =
      ((VALUES[digits[2 * at] as number] as number) << 4) | (VALUES[digits[2 * at + 1] as number] as number);
    all |= value;
    bytes[at] = value;
  }
  return all < 0 ? digits.findIndex((code) => (VALUES[code] as number) < 0) : bytes;
}
