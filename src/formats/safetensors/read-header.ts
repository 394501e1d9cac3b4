import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { parseSafetensorsHeader, type SafetensorsHeader, safetensorsHeaderSize } from "./parse-header.ts";

/** Length of the first read, in bytes. Most headers are shorter. */
const WINDOW = 64 * 1024;

/**
 * Reads the header of a safetensors file, in at most two reads, and no byte twice.
 * @throws FormatError what {@link parseSafetensorsHeader} throws
 */
export async function readSafetensorsHeader(
  source: ByteSource,
  options: ReadOptions = {},
): Promise<SafetensorsHeader> {
  const first = await source.read(0, Math.min(source.size, WINDOW), options);
  const size = safetensorsHeaderSize(first, source);
  if (size <= first.byteLength) return parseSafetensorsHeader(first, source);
  const bytes = new Uint8Array(size);
  bytes.set(first);
  bytes.set(await source.read(first.byteLength, size - first.byteLength, options), first.byteLength);
  return parseSafetensorsHeader(bytes, source);
}
