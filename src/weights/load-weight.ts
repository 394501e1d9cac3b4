import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import { CHUNK, rangeOf } from "../io/stream.ts";
import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/**
 * Fills memory with a weight, a piece at a time. After a failure the memory has part of it.
 * @param target of exactly the weight's size
 * @throws LinkError `missing-weight`; `size-mismatch` before anything is written; SourceError `source-changed`
 */
export async function loadWeight(
  source: WeightSource,
  key: string,
  target: Uint8Array,
  options: ReadOptions = {},
): Promise<void> {
  await using bytes = await openWeight(source, key, options);
  const { size } = bytes;
  if (target.byteLength !== size) {
    const side = target.byteLength < size ? "less" : "more";
    throw new LinkError(
      "size-mismatch",
      `Cannot load weight "${key}" of "${source.name}": it has ${size} bytes, the memory for it has ${side}: ${target.byteLength}`,
      { path: source.name, tensor: key },
    );
  }
  if (bytes.readInto) {
    for (let at = 0; at < size; at += CHUNK)
      await bytes.readInto(target.subarray(at, at + CHUNK), at, options);
  } else {
    let filled = 0;
    for await (const chunk of rangeOf(bytes, 0, size, options)) {
      target.set(chunk, filled);
      filled += chunk.byteLength;
    }
  }
  await bytes.file?.requireUnchanged();
}
