import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";

/** Length of a read, in bytes. */
const CHUNK = 4 * 1024 * 1024;
/** Length of the text in memory, in bytes. */
const STRETCH = 256 * 1024;
/** Longest token other than a string: so much text is in memory wherever a token starts. */
export const MAX_TOKEN_LENGTH: number = 64 * 1024;
const QUOTE = 0x22;
const ESCAPE = 0x5c;

/** A text of any size, with a character per byte and a window in memory. */
export class TextChunks {
  /** The window. */
  text = "";
  /** Start of the window, in bytes from the start of the file. */
  start = 0;
  #bytes: Uint8Array = new Uint8Array();
  #bytesStart = 0;
  readonly #source: ByteSource;
  readonly #options: ReadOptions;

  constructor(source: ByteSource, options: ReadOptions) {
    this.#source = source;
    this.#options = options;
  }

  get size(): number {
    return this.#source.size;
  }

  /**
   * Moves the window to a token, if needed.
   * @returns the token's index in {@link text}
   */
  async at(offset: number): Promise<number> {
    if (!covers(this.start, this.text.length, offset, this.size)) {
      if (!covers(this.#bytesStart, this.#bytes.byteLength, offset, this.size)) await this.#read(offset);
      const from = offset - this.#bytesStart;
      this.text = latin1(this.#bytes.subarray(from, from + STRETCH));
      this.start = offset;
    }
    return offset - this.start;
  }

  /**
   * Finds the end of a string.
   * @param offset of the first character after its quote
   * @returns the offset of the closing quote; `undefined` if there is none
   */
  async endOfString(offset: number): Promise<number | undefined> {
    // The next quote, or the end of the bytes in memory: searched once, not again after each escape.
    let quote = -1;
    for (let at = offset; at < this.size; ) {
      if (at < this.#bytesStart || at >= this.#bytesStart + this.#bytes.byteLength) {
        await this.#read(at);
        quote = -1;
      }
      const from = at - this.#bytesStart;
      if (quote < from) quote = this.#bytes.indexOf(QUOTE, from);
      if (quote < 0) quote = this.#bytes.byteLength;
      const escape = this.#bytes.subarray(from, quote).indexOf(ESCAPE);
      if (escape >= 0) at += escape + 2;
      else if (quote < this.#bytes.byteLength) return this.#bytesStart + quote;
      else at = this.#bytesStart + this.#bytes.byteLength;
    }
    return undefined;
  }

  async #read(offset: number): Promise<void> {
    const length = Math.min(CHUNK, this.size - offset);
    this.#bytes = await this.#source.read(offset, length, this.#options);
    this.#bytesStart = offset;
  }
}

/** Whether a window covers any token that starts at an offset. */
function covers(start: number, length: number, offset: number, size: number): boolean {
  const end = start + length;
  return offset >= start && (end >= size || offset + MAX_TOKEN_LENGTH <= end);
}

/** Decodes each byte as a character: TextDecoder's latin1 is another encoding. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.byteLength; at += 8192) {
    // Spread syntax is many times slower.
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 8192) as unknown as number[]);
  }
  return text;
}

/** Decodes a string whose characters are bytes: resolves escapes, then decodes UTF-8. */
export function decodeString(raw: string): string {
  const plain = raw.replace(/\\(?:([0-9A-Fa-f]{2})|(.))/gs, (_, hex?: string, character?: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    return character === "n" ? "\n" : character === "t" ? "\t" : (character as string);
  });
  return new TextDecoder().decode(Uint8Array.from(plain, (character) => character.charCodeAt(0)));
}

/** Encodes a string as MLIR prints it, without quotes. */
export function encodeString(text: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(text)) {
    if (byte === ESCAPE) encoded += "\\\\";
    else if (byte >= 0x20 && byte < 0x7f && byte !== QUOTE) encoded += String.fromCharCode(byte);
    else encoded += `\\${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
