import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { TensorLayout } from "../tensor/tensor-layout.ts";

/** What is known of a weight before it is read. */
export interface WeightLayout extends TensorLayout {
  /** In bytes. */
  readonly length: number;
  /** `undefined` where it is not known. */
  readonly digest: Digest | undefined;
  /** In bytes, where the weight's file asks for one. */
  readonly alignment?: number | undefined;
}

/** A weight's own bytes, decoded where its file encodes them. Dispose it when they are read. */
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
 * The seam to weights by name, wherever they are: a store, model files, URLs, memory. A class may implement it;
 * everything else is a function over these four members.
 */
export interface WeightSource {
  /** How errors name it. */
  readonly name: string;
  keys(): readonly string[];
  /** `undefined` for a key that the source does not have. */
  layout(key: string): WeightLayout | undefined;
  /**
   * Opens a weight's bytes, `length` of its layout.
   * @throws LinkError `missing-weight` for a key that the source does not have
   */
  open(key: string, options?: ReadOptions): Promise<WeightBytes>;
  /** Tensors of its files that are not among the keys, since they cannot be read; none if left out. */
  readonly unread?: readonly UnreadTensor[] | undefined;
  /** What people should know about how its files were read, in sentences; nothing if left out. */
  readonly notes?: readonly string[] | undefined;
}

/** Lets a source of bytes be what a weight is read from. */
export function weightBytes(
  source: ByteSource,
  close: () => Promise<void> = async () => undefined,
): WeightBytes {
  return Object.assign(source, { [Symbol.asyncDispose]: close });
}

/** The error for a key that a source does not have. */
export function noSuchWeight({ name }: Pick<WeightSource, "name">, key: string): LinkError {
  return new LinkError("missing-weight", `Cannot read weight "${key}": "${name}" has none of that name`, {
    path: name,
    tensor: key,
  });
}
