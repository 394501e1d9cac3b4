import { SourceError } from "../errors.ts";

/** Options that every read takes. */
export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The local file that a source reads. An engine may open or map it. */
export interface LocalFile {
  /** Absolute path. */
  readonly path: string;
  /** Offset of the source in the file, in bytes. */
  readonly offset: number;
  /**
   * Checks that the path still names the file that was opened, and that the file is unchanged since.
   * @throws SourceError `source-changed`
   */
  requireUnchanged(): Promise<void>;
}

/** The resource of a web server that a source reads. */
export interface RemoteFile {
  readonly url: string;
  /** Offset of the source in the resource, in bytes. */
  readonly offset: number;
}

/**
 * Bytes that can be read by range: a file, a slice of one, memory, an HTTP resource.
 * The opener of a source closes it; a source without an open file is not disposable.
 */
export interface ByteSource {
  /** Path or URL, for errors. */
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  /** Set if the source is a local file or a range of one, byte for byte. */
  readonly file?: LocalFile;
  /** Set if the source is a resource of a web server or a range of one. */
  readonly remote?: RemoteFile;
  /**
   * Reads exactly `length` bytes at `offset`. A short read is an error, never a shorter or zero-filled result.
   * The result may be a view of shared memory: do not write into it.
   * @throws SourceError `out-of-range`, `short-read`, `source-changed`, `io`, `http`
   */
  read(offset: number, length: number, options?: ReadOptions): Promise<Uint8Array>;
  /**
   * Reads `target.byteLength` bytes at `offset` into memory of the caller, without a copy in between.
   * Optional: {@link read} gives the same bytes.
   * @throws the errors of {@link read}
   */
  readInto?(target: Uint8Array, offset: number, options?: ReadOptions): Promise<void>;
}

/**
 * Checks that a range is inside a source. Every implementation of a source calls it first.
 * @throws SourceError `out-of-range`
 */
export function checkRange(source: { name: string; size: number }, offset: number, length: number): void {
  const integers = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!integers || offset < 0 || length < 0 || offset > source.size - length) {
    throw new SourceError(
      "out-of-range",
      `Cannot read ${length} bytes at ${offset} of "${source.name}": it has ${source.size} bytes`,
      { path: source.name, offset },
    );
  }
}

/** Makes a source of bytes in memory; reads are views without a copy. */
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

/** Makes a source of a range of another source; offsets count from `start`. */
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
