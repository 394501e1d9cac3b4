import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { ggufErrors } from "./file.ts";
import { type GgufHeader, parseGgufHeader } from "./parse.ts";

/** Length of the first read in bytes, and the factor for each further read. */
const WINDOW = { first: 128 * 1024, growth: 4 };
/** Headers are held in memory. Vocabularies make them large: 256,000 tokens, each twice, take 60 MB. */
const MAX_HEADER_BYTES = 128 * 1024 * 1024;

/**
 * Reads the header of a GGUF file. Its length is unknown beforehand: the window grows until the header is complete. At
 * most four times its length is read, and no byte twice.
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
