import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { TensorLayout } from "../tensor/tensor-layout.ts";

/** The layout of a weight in a source, known before the weight is read. */
export interface WeightLayout extends TensorLayout {
  /** Length in bytes. */
  readonly length: number;
  /** `undefined` if unknown. */
  readonly digest: Digest | undefined;
  /** Alignment that the weight's file requires, in bytes; `undefined` for none. */
  readonly alignment?: number | undefined;
}

/** The decoded bytes of a weight. Dispose it after the last read. */
export interface WeightBytes extends ByteSource, AsyncDisposable {}

/** A tensor that a file has and that cannot be read as a weight. */
export interface UnreadTensor {
  readonly name: string;
  /** Why, to follow "is": `quantized`. */
  readonly form: string;
  /** What to do about it. */
  readonly hint?: string | undefined;
}

/**
 * Weights by name: the interface to weights in a store, model files, URLs or memory. A class may implement it; all
 * other operations are functions over these four members.
 */
export interface WeightSource {
  /** Name for errors. */
  readonly name: string;
  keys(): readonly string[];
  /** `undefined` for a key that the source does not have. */
  layout(key: string): WeightLayout | undefined;
  /**
   * Opens the bytes of a weight; their size is `length` of its layout.
   * @throws LinkError `missing-weight` for a key that the source does not have
   */
  open(key: string, options?: ReadOptions): Promise<WeightBytes>;
  /** Tensors of its files that are not among the keys, since they cannot be read; none if left out. */
  readonly unread?: readonly UnreadTensor[] | undefined;
  /** What people should know about how its files were read, in sentences; nothing if left out. */
  readonly notes?: readonly string[] | undefined;
}

/** Makes {@link WeightBytes} of a byte source. */
export function weightBytes(
  source: ByteSource,
  close: () => Promise<void> = async () => undefined,
): WeightBytes {
  return Object.assign(source, { [Symbol.asyncDispose]: close });
}

/** Makes the error for a key that a source does not have. */
export function noSuchWeight({ name }: Pick<WeightSource, "name">, key: string): LinkError {
  return new LinkError(
    "missing-weight",
    `Cannot read weight "${key}": "${name}" has no weight of that name`,
    {
      path: name,
      tensor: key,
    },
  );
}
