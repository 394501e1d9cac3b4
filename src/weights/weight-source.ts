import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StreamOptions } from "../io/stream.ts";
import type { TensorLayout } from "../tensor/tensor-layout.ts";

/** What is known of a weight before it is read. */
export interface WeightLayout extends TensorLayout {
  /** In bytes. */
  readonly length: number;
  /** `undefined` where nobody has hashed it. */
  readonly digest: Digest | undefined;
}

/** A range of a file. */
export interface FileRange {
  /** Absolute. */
  readonly path: string;
  /** In bytes from the start of the file. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/** A range of a resource of a web server. */
export interface UrlRange {
  readonly url: string;
  /** In bytes from the start of the resource. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/**
 * The seam to weights by name, wherever they are: a store, model files, URLs, memory. What gives a weight's bytes says
 * `missing-weight` (LinkError) for a key that it does not have, and `source-changed` (SourceError) for a file that was
 * replaced or written to since it was opened.
 */
export interface WeightSource {
  /** How errors call it. */
  readonly name: string;
  keys(): readonly string[];
  /** `undefined` for a key that it does not have. */
  layout(key: string): WeightLayout | undefined;
  /** A weight in memory: without a copy where it is in memory already, else read whole. */
  data(key: string, options?: ReadOptions): Promise<FreeableData>;
  /**
   * Fills memory with a weight, a piece at a time. After a failure it holds part of it.
   * @throws LinkError `size-mismatch` unless the memory has exactly the weight's size: then nothing was written
   */
  loadInto(key: string, target: Uint8Array, options?: ReadOptions): Promise<void>;
  /** A weight piece by piece. That its file changed may show only at the end. */
  stream(key: string, options?: StreamOptions): AsyncIterable<Uint8Array>;
  /**
   * Where an engine can map a weight itself; `undefined` for what is in no file as plain bytes. Ask again when it is
   * mapped: a file that was replaced in between is refused then.
   */
  locate(key: string): Promise<FileRange | undefined>;
  /** Where on the web a weight lies as plain bytes; `undefined` for what does not. */
  remote(key: string): Promise<UrlRange | undefined>;
}

/** A weight in memory, for as long as it is needed. Do not write into it. */
export interface FreeableData extends Disposable {
  /** @throws LinkError `released` once it was freed */
  readonly bytes: Uint8Array;
  /** Lets go of the memory. A second time does nothing. */
  free(): void;
}

/** Hands out bytes until they are freed. */
export function freeableData(key: string, bytes: Uint8Array): FreeableData {
  let held: Uint8Array | undefined = bytes;
  const free = (): void => {
    held = undefined;
  };
  return {
    get bytes() {
      if (held) return held;
      throw new LinkError("released", `Cannot use weight "${key}": it was freed`, { tensor: key });
    },
    free,
    [Symbol.dispose]: free,
  };
}

/** The error for a key that is not there. */
export function noSuchWeight(data: Pick<WeightSource, "name">, key: string): LinkError {
  return new LinkError(
    "missing-weight",
    `Cannot read weight "${key}": "${data.name}" has none of that name`,
    {
      path: data.name,
      tensor: key,
    },
  );
}

/** Refuses memory that is not exactly as large as the weight. */
export function checkTarget(
  data: Pick<WeightSource, "name">,
  key: string,
  length: number,
  target: Uint8Array,
): void {
  if (target.byteLength === length) return;
  const less = target.byteLength < length ? "less" : "more";
  throw new LinkError(
    "size-mismatch",
    `Cannot load weight "${key}" of "${data.name}": it has ${length} bytes, the memory for it has ${less}: ${target.byteLength}`,
    { path: data.name, tensor: key },
  );
}
