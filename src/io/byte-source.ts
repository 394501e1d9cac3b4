import { SourceError } from "../errors.ts";

/** Options that every read takes. */
export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The file of this machine that a source reads: what an engine may open itself. */
export interface LocalFile {
  /** Absolute. */
  readonly path: string;
  /** Where the source starts in the file, in bytes. */
  readonly offset: number;
  /**
   * Makes sure that the path still leads to the file that was opened, and that nobody wrote to it since.
   * @throws SourceError `source-changed`
   */
  requireUnchanged(): Promise<void>;
}

/** The resource of a web server that a source reads. */
export interface RemoteFile {
  readonly url: string;
  /** Where the source starts in the resource, in bytes. */
  readonly offset: number;
}

/**
 * Bytes that can be read by range: a file, a slice of one, memory, an HTTP resource.
 * Whoever opens a source closes it; a source that holds nothing open has no `close`.
 */
export interface ByteSource {
  /** How errors call it: a path or URL. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** Set where the source is a file or a part of one, byte for byte. */
  readonly file?: LocalFile;
  /** Set where the source is a resource of a web server or a part of one. */
  readonly remote?: RemoteFile;
  /**
   * Reads exactly `length` bytes at `offset`; fewer is an error, never a shorter or zero-filled answer.
   * The result may be a view of memory that others see: do not write into it.
   * @throws SourceError `out-of-range`, `short-read`, `source-changed`, `io`, `http`
   */
  read(offset: number, length: number, options?: ReadOptions): Promise<Uint8Array>;
  /**
   * Fills memory that the caller has with what is at `offset`; what passes through is then in no other memory.
   * Optional: {@link read} says the same.
   * @throws what {@link read} throws
   */
  readInto?(target: Uint8Array, offset: number, options?: ReadOptions): Promise<void>;
}

/** Refuses a range that is not wholly inside the source. Every implementation calls it first. */
export function checkRange(source: { name: string; size: number }, offset: number, length: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!whole || offset < 0 || length < 0 || offset > source.size - length) {
    throw new SourceError(
      "out-of-range",
      `Cannot read ${length} bytes at ${offset} of "${source.name}": it has ${source.size} bytes`,
      { path: source.name, offset },
    );
  }
}

/** A source over bytes in memory; reads are views, nothing is copied. */
export function memorySource(bytes: Uint8Array, name = "memory"): ByteSource {
  const source = {
    name,
    size: bytes.byteLength,
    async read(offset: number, length: number, options?: ReadOptions): Promise<Uint8Array> {
      options?.signal?.throwIfAborted();
      checkRange(source, offset, length);
      return bytes.subarray(offset, offset + length);
    },
  };
  return source;
}

/** A window of another source, with offsets of its own. */
export function sliceSource(parent: ByteSource, start: number, size: number): ByteSource {
  checkRange(parent, start, size);
  const { file, remote } = parent;
  const source: ByteSource = {
    name: parent.name,
    size,
    ...(file && {
      file: {
        path: file.path,
        offset: file.offset + start,
        requireUnchanged: () => file.requireUnchanged(),
      },
    }),
    ...(remote && { remote: { url: remote.url, offset: remote.offset + start } }),
    async read(offset: number, length: number, options?: ReadOptions): Promise<Uint8Array> {
      checkRange(source, offset, length);
      return parent.read(start + offset, length, options);
    },
    ...(parent.readInto && {
      async readInto(target: Uint8Array, offset: number, options?: ReadOptions): Promise<void> {
        checkRange(source, offset, target.byteLength);
        await parent.readInto?.(target, start + offset, options);
      },
    }),
  };
  return source;
}
