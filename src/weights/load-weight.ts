import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import { CHUNK, rangeOf } from "../io/stream.ts";
import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/**
 * Reads a weight into memory, in chunks. After a failure the memory contains a part of the weight.
 * @param target memory of exactly the size of the weight
 * @throws LinkError `missing-weight`; `size-mismatch` before the first read; SourceError `source-changed`
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
    throw new LinkError(
      "size-mismatch",
      `Cannot load weight "${key}" of "${source.name}": it has ${size} bytes, the memory for it has ${target.byteLength}`,
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
