import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** A range of a file. */
export interface FileRange {
  /** Absolute path. */
  readonly path: string;
  /** Offset in the file, in bytes. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
}

/**
 * Finds the file range of a weight, for engines that map files. Call it again after mapping the file, to detect that
 * the file was replaced in between.
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
