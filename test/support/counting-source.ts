import type { ByteSource } from "../../src/io/byte-source.ts";

/** One read that a source was asked for. */
export interface CountedRead {
  readonly offset: number;
  readonly length: number;
}

/** A source that remembers what was asked of it. */
export interface CountingSource extends ByteSource {
  /** In the order they were asked for. */
  readonly reads: readonly CountedRead[];
  /** Bytes of all reads together. */
  readonly bytes: number;
}

/** Wraps a source to see what is read of it. */
export function countingSource(source: ByteSource): CountingSource {
  const reads: CountedRead[] = [];
  return {
    name: source.name,
    size: source.size,
    reads,
    get bytes() {
      return reads.reduce((sum, read) => sum + read.length, 0);
    },
    async read(offset, length, options) {
      reads.push({ offset, length });
      return source.read(offset, length, options);
    },
  };
}
