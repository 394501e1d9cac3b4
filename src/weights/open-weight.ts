import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import { noSuchWeight, type WeightBytes, type WeightSource } from "./weight-source.ts";

/**
 * Opens a weight's bytes, and checks their size against the layout.
 * @throws LinkError `missing-weight`, `size-mismatch`
 */
export async function openWeight(
  source: WeightSource,
  key: string,
  options: ReadOptions = {},
): Promise<WeightBytes> {
  options.signal?.throwIfAborted();
  const layout = source.layout(key);
  if (!layout) throw noSuchWeight(source, key);
  const bytes = await source.open(key, options);
  if (bytes.size === layout.length) return bytes;
  await bytes[Symbol.asyncDispose]();
  throw new LinkError(
    "size-mismatch",
    `Cannot use weight "${key}" of "${source.name}": it has ${bytes.size} bytes, its layout says ${layout.length}`,
    { path: source.name, tensor: key },
  );
}
