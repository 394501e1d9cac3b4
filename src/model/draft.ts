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

/** One graph of a model. */
export interface MethodDraft {
  readonly name: string;
  /** Index into {@link ModelDraft.files}: the file that is the program. */
  readonly file: number;
  readonly weights: readonly WeightDraft[];
  /** Tensors in other files that belong to the program, since a compiler depends on their values. */
  readonly constants: readonly WeightDraft[];
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
