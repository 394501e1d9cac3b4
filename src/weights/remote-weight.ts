import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** A range of a resource of a web server. */
export interface UrlRange {
  readonly url: string;
  /** Offset in the resource, in bytes. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
}

/**
 * Finds the range of a web server's resource that contains a weight.
 * @returns `undefined` for a weight that no web server has as plain bytes
 */
export async function remoteWeight(source: WeightSource, key: string): Promise<UrlRange | undefined> {
  if (!source.layout(key)) return undefined;
  await using bytes = await openWeight(source, key);
  const { remote, size } = bytes;
  return remote && { url: remote.url, offset: remote.offset, length: size };
}
