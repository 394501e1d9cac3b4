import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type ByteSource, checkRange } from "../../src/io/byte-source.ts";

/** A source that knows which of the bytes that it ever gave are still held by somebody. */
export interface AllocatingSource extends ByteSource {
  /** The most that was held at once, in bytes, the read under way included. */
  readonly peak: number;
  /** Bytes of all reads together. */
  readonly given: number;
  /** What is held now. */
  held(): Promise<number>;
}

/**
 * Gives fresh memory for each read, and looks before each, after a collection of garbage, at what of it is left.
 * @param byteAt the byte at an offset
 */
export function allocatingSource(size: number, byteAt: (offset: number) => number): AllocatingSource {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const allocations: WeakRef<Uint8Array>[] = [];
  let peak = 0;
  let given = 0;
  const held = async (): Promise<number> => {
    // A WeakRef keeps what it refers to until the current job is over.
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    return allocations.reduce((sum, each) => sum + (each.deref()?.byteLength ?? 0), 0);
  };
  const source = {
    name: "allocating",
    size,
    get peak() {
      return peak;
    },
    get given() {
      return given;
    },
    held,
    async read(offset: number, length: number): Promise<Uint8Array> {
      checkRange(source, offset, length);
      peak = Math.max(peak, (await held()) + length);
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; at += 4096) bytes[at] = byteAt(offset + at);
      given += length;
      allocations.push(new WeakRef(bytes));
      return bytes;
    },
  };
  return source;
}
