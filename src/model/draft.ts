import type { ByteSource } from "../io/byte-source.ts";
import type { ByteEncoding } from "../io/byte-encoding.ts";
import type { DType } from "../tensor/dtype.ts";

/** The range of a model's file that contains a weight. */
export interface WeightRange extends ByteEncoding {
  /** Index into {@link ModelDraft.files}. */
  readonly file: number;
  /** Offset in the file, in bytes. */
  readonly offset: number;
  /** Length in the file, in bytes; for plain bytes the size of shape and dtype. */
  readonly length: number;
}

/** A weight that a reader found in a file. Its bytes are not read. */
export interface WeightDraft {
  /** Unique within its method. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Alignment that the file requires, in bytes, if the format has one for each weight. */
  readonly alignment?: number | undefined;
  readonly at: WeightRange;
}

/**
 * A tensor that is no weight, since its file does not have its elements as weights have theirs: little-endian,
 * row-major, one after another. A store keeps it as a part of the file.
 */
export interface LooseTensor {
  /** Unique within its method, among the weights too. */
  readonly name: string;
  /** The difference, to follow "is": `column-major`, `quantized`. */
  readonly form: string;
  /** The tensor as weights have it; left out if it cannot be expressed so. */
  readonly content?: TensorContent;
  /** What to do about one without content. */
  readonly hint?: string | undefined;
  /** Whether it is a constant of its program, which is read only where constants are asked for. */
  readonly isConstant?: boolean;
}

/** The end of a note about loose tensors, which is of interest to a store alone. */
export const LOOSE_NOTE = "kept as plain bytes";

/** A tensor whose elements are rearranged, unpacked or decoded while they are read. */
export interface TensorContent {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Opens its bytes: little-endian, row-major. It lives as long as the source of the file. */
  open(): ByteSource;
}

/** One graph of a model. */
export interface MethodDraft {
  readonly name: string;
  /** Index into {@link ModelDraft.files}: the file that is the program. */
  readonly file: number;
  readonly weights: readonly WeightDraft[];
  /** Tensors in other files that belong to the program, since a compiler depends on their values. */
  readonly constants: readonly WeightDraft[];
  /** Tensors that are no weights, since the file has them in another form; none if left out. */
  readonly loose?: readonly LooseTensor[];
}

/** One file of a model. */
export interface FileDraft<S extends ByteSource = ByteSource> {
  /** Relative to the model's folder, with `/` between names. */
  readonly path: string;
  readonly source: S;
}

/** A model as a format's reader found it in files. No bytes of weights are read. */
export interface ModelDraft<S extends ByteSource = ByteSource> {
  readonly format: string;
  readonly methods: readonly MethodDraft[];
  readonly files: readonly FileDraft<S>[];
  /** Notes for the user on how the files were read, in sentences. */
  readonly notes?: readonly string[];
}
