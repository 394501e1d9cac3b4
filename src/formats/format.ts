import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import type { ModelDraft } from "../model/draft.ts";
import type { FileStart } from "./file-start.ts";
import type { LayOut } from "./lay-out.ts";

/** The files around a model, which its reader may open: never files outside of the model's own folder. */
export interface ModelFolder {
  /**
   * Opens a file that the model names.
   * @param path relative to the model's folder
   * @returns `undefined` if there is no such file
   * @throws SourceError `unsafe-path` if the path leads outside of the folder
   */
  open(path: string, options?: ReadOptions): Promise<ByteSource | undefined>;
}

/** A file that {@link Format.read} starts from. */
export interface ModelFile {
  /** Relative to the model's folder. */
  readonly path: string;
  readonly source: ByteSource;
}

/**
 * The seam between tare and a container format. A format is a folder whose `format.ts` exports one such object, and a
 * line in `registry.ts`. The object itself is light: it loads its reader and its writers on first use.
 */
export interface Format {
  /** Identifies the format in stored models; never changes. */
  readonly id: string;
  /** Name in messages and help; the row of the format in docs/formats.md starts with it. */
  readonly label: string;
  /** Extensions of its files, with the dot, in lower case. */
  readonly extensions: readonly string[];
  /** Whole names of its files, in lower case, if the extension alone does not identify them. */
  readonly names?: readonly string[];
  /** Whether files of the format often accompany a model: inputs, outputs, the states of optimizers. */
  readonly isSide?: boolean;
  /** Whether its files may have loose tensors: of any kind, or constants of programs only. None if left out. */
  readonly looseTensors?: "any" | "constants";
  /** Whether a file starts as only this format's files do. Left out for a format without a signature. */
  hasSignature?(start: FileStart): boolean;
  /** Whether a file may be of this format: asked if neither a signature nor the file's name tells its format. */
  resembles?(start: FileStart): boolean;
  /**
   * Reads the programs of one model, a method each, and finds their weights without reading them.
   * @throws FormatError naming file, offset and tensor
   */
  read(files: readonly ModelFile[], folder: ModelFolder, options?: ReadOptions): Promise<ModelDraft>;
  /** Loads what writes weights as such a file, by the extension or whole name of the new file. */
  readonly writers?: Readonly<Record<string, () => Promise<LayOut>>>;
}
