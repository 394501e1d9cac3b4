import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import type { ModelDraft } from "../model/draft.ts";

/** The files around a model, as its reader may reach them: never outside the model's own folder. */
export interface ModelFolder {
  /**
   * Opens a file that the model names.
   * @param path relative to the model's folder
   * @returns `undefined` if there is no such file
   * @throws SourceError `unsafe-path` if it would lead outside
   */
  open(path: string, options?: ReadOptions): Promise<ByteSource | undefined>;
}

/** A file that {@link Format.read} starts from. */
export interface ModelFile {
  /** Relative to the model's folder. */
  readonly path: string;
  readonly source: ByteSource;
}

/** The seam between tare and a container format. */
export interface Format {
  readonly id: string;
  /** What a program's file name ends in, dot included. */
  readonly extensions: readonly string[];
  /** Whole names of files that are programs; the extension alone says nothing there. */
  readonly names?: readonly string[];
  /**
   * Reads the programs of one model, a method each, and finds their weights without reading them.
   * @throws FormatError naming file, offset and tensor
   */
  read(files: readonly ModelFile[], folder: ModelFolder, options?: ReadOptions): Promise<ModelDraft>;
}
