import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { ggufErrors } from "./file.ts";
import { type GgufHeader, parseGgufHeader } from "./parse.ts";

/** The first read, and what each further one multiplies it by. */
const WINDOW = { first: 128 * 1024, growth: 4 };
/** Headers are held in memory. Vocabularies make them large: of 256,000 tokens, spelled twice, 60 MB. */
const MAX_HEADER_BYTES = 128 * 1024 * 1024;

/**
 * Reads the header of a GGUF file. How long it is cannot be known before: reads go on until it is whole, at most
 * four times its length in all, and nothing is read twice.
 * @throws FormatError what {@link parseGgufHeader} throws; `too-large` for a header over 128 MiB
 */
export async function readGgufHeader(source: ByteSource, options: ReadOptions = {}): Promise<GgufHeader> {
  let held: Uint8Array = new Uint8Array(0);
  for (let window = WINDOW.first; ; window *= WINDOW.growth) {
    const end = Math.min(source.size, window, MAX_HEADER_BYTES);
    const next = await source.read(held.byteLength, end - held.byteLength, options);
    if (held.byteLength === 0) held = next;
    else {
      const longer = new Uint8Array(end);
      longer.set(held);
      longer.set(next, held.byteLength);
      held = longer;
    }
    const header = parseGgufHeader(held, source);
    if (header) return header;
    if (end === MAX_HEADER_BYTES) {
      throw ggufErrors(source)("too-large", `its header is over ${MAX_HEADER_BYTES} bytes`, { offset: end });
    }
  }
}
