import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** A range of a resource of a web server. */
export interface UrlRange {
  readonly url: string;
  /** In bytes from the start of the resource. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/**
 * Finds the range of a web server's resource that a weight is.
 * @returns `undefined` for a weight that no web server has as plain bytes
 */
export async function remoteWeight(source: WeightSource, key: string): Promise<UrlRange | undefined> {
  if (!source.layout(key)) return undefined;
  await using bytes = await openWeight(source, key);
  const { remote, size } = bytes;
  return remote && { url: remote.url, offset: remote.offset, length: size };
}
