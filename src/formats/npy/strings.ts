import type { FileFail } from "../../errors.ts";

/** Bytes of a character of NumPy's `U` types: UCS-4. */
export const CHARACTER = 4;

/**
 * Decodes fixed-width little-endian UCS-4 strings; trailing NULs are padding.
 * @param characters characters per string; may be 0
 * @param start offset of the bytes in the array, for errors
 * @throws FormatError `malformed` for a code that is no Unicode character
 */
export function decodeStrings(
  bytes: Uint8Array,
  count: number,
  characters: number,
  start: number,
  fail: FileFail,
): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: count }, (_, index) => {
    const first = index * characters * CHARACTER;
    let end = first + characters * CHARACTER;
    while (end > first && view.getUint32(end - CHARACTER, true) === 0) end -= CHARACTER;
    let text = "";
    for (let at = first; at < end; at += CHARACTER) {
      const code = view.getUint32(at, true);
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        throw fail("malformed", `0x${code.toString(16)} is no Unicode character`, { offset: start + at });
      }
      text += String.fromCodePoint(code);
    }
    return text;
  });
}

/** Encodes strings as UCS-4, each padded with NULs to the same number of characters. */
export function encodeStrings(strings: readonly string[], characters: number): Uint8Array {
  const bytes = new Uint8Array(strings.length * characters * CHARACTER);
  const view = new DataView(bytes.buffer);
  strings.forEach((text, index) => {
    let at = index * characters * CHARACTER;
    for (const character of text) {
      view.setUint32(at, character.codePointAt(0) as number, true);
      at += CHARACTER;
    }
  });
  return bytes;
}
