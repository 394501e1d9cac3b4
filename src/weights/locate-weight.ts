import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** A range of a file. */
export interface FileRange {
  /** Absolute. */
  readonly path: string;
  /** In bytes from the start of the file. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/**
 * Finds the file range of a weight, for engines that map files. Ask again when it is mapped: a file that was replaced
 * meanwhile is refused then.
 * @returns `undefined` for a weight that no file has as plain bytes
 * @throws SourceError `source-changed`
 */
export async function locateWeight(source: WeightSource, key: string): Promise<FileRange | undefined> {
  if (!source.layout(key)) return undefined;
  await using bytes = await openWeight(source, key);
  const { file, size } = bytes;
  await file?.requireUnchanged();
  return file && { path: file.path, offset: file.offset, length: size };
}
