import type { ReadOptions } from "../io/byte-source.ts";
import { FILE_START_BYTES, FileStart } from "./file-start.ts";
import type { Format, ModelFile } from "./format.ts";
import type { LayOut } from "./lay-out.ts";

/** A list of formats, and lookups in it. */
export interface FormatRegistry {
  readonly formats: readonly Format[];
  /** Extensions and whole names of model files, for messages and help. */
  readonly modelFiles: readonly string[];
  /** Extensions of files that often accompany a model. */
  readonly sideExtensions: readonly string[];
  /** Extensions and whole names of the files that can be written, for messages and help. */
  readonly writtenFiles: readonly string[];
  /** Whether a file is a model, by its name. */
  isModelFile(path: string): boolean;
  /**
   * Recognizes a file by its first bytes, else by its name, which counts for formats without a signature.
   * @returns `undefined` if neither tells its format
   * @throws SourceError
   */
  recognize(file: ModelFile, options?: ReadOptions): Promise<Format | undefined>;
  byId(id: string): Format | undefined;
  /** Loads what writes weights as a file of that name; `undefined` if no format does. */
  loadLayOut(path: string): Promise<LayOut> | undefined;
}

/**
 * Makes a registry of formats.
 * @throws TypeError for two formats of one id, extension or name
 */
export function createRegistry(formats: readonly Format[]): FormatRegistry {
  const endings = formats.flatMap((format) => endingsOf(format).map((ending) => [ending, format] as const));
  const writers = formats.flatMap(({ writers = {} }) => Object.entries(writers));
  for (const names of [formats.map(({ id }) => id), endings.map(([ending]) => ending)]) {
    const twice = names.find((name, nth) => names.indexOf(name) !== nth);
    if (twice !== undefined) throw new TypeError(`two formats have "${twice}"`);
  }
  const byName = (path: string): Format | undefined => endings.find(([ending]) => isNamed(path, ending))?.[1];
  return {
    formats,
    modelFiles: endings.map(([ending]) => ending),
    sideExtensions: formats.flatMap(({ isSide, extensions }) => (isSide ? extensions : [])),
    writtenFiles: writers.map(([ending]) => ending),
    isModelFile: (path) => byName(path) !== undefined,
    async recognize({ path, source }, options = {}) {
      const bytes = await source.read(0, Math.min(source.size, FILE_START_BYTES), options);
      const start = new FileStart(bytes, source.size);
      const signed = formats.find((format) => format.hasSignature?.(start));
      return signed ?? byName(path) ?? formats.find((format) => format.resembles?.(start));
    },
    byId: (id) => formats.find((format) => format.id === id),
    loadLayOut: (path) => writers.find(([ending]) => isNamed(path, ending))?.[1](),
  };
}

function endingsOf({ extensions, names = [] }: Format): readonly string[] {
  return [...extensions, ...names];
}

/** Whether a file's name ends in an extension, or is a whole name. */
function isNamed(path: string, ending: string): boolean {
  const name = path.toLowerCase().replace(/^.*[\\/]/s, "");
  return ending.startsWith(".") ? name.endsWith(ending) : name === ending;
}
