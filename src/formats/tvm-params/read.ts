import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import type { ModelDraft, WeightDraft } from "../../model/draft.ts";
import { fileErrors, shorten } from "../../errors.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { readPerFile } from "../method-per-file.ts";
import { type ParamsArray, type ParamsNames, parseParamsArray, parseParamsNames } from "./parse.ts";
import { ARRAY_FIXED, dtypeOfType } from "./schema.ts";

/** Length of the first read, in bytes. Most lists of names are shorter. */
const WINDOW = 64 * 1024;
/** Length of the first read of an array, in bytes: covers a header of four dimensions. */
const ARRAY_WINDOW: number = ARRAY_FIXED + 5 * 8;

/** An array of a parameter file; its data is not read. */
export interface ParamsEntry extends ParamsArray {
  readonly name: string;
}

/**
 * Reads parameters that TVM saved: a method for each file, a weight for each array. Arrays of unknown types are plain
 * bytes, and a note of the draft says so. Reads the names and the arrays' headers only.
 * @throws FormatError with file, tensor and offset
 */
export async function readTvmParams(
  files: readonly ModelFile[],
  _folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  return readPerFile("tvm-params", files, async (source, file, notes) => {
    const entries = await readTvmParamsEntries(source, options);
    return entries.map((entry) => weightOf(entry, file, notes));
  });
}

/**
 * Reads the headers of all arrays of a parameter file.
 * @throws FormatError what {@link parseParamsNames} and {@link parseParamsArray} throw; `malformed` for bytes after the
 * last array
 */
export async function readTvmParamsEntries(
  source: ByteSource,
  options: ReadOptions = {},
): Promise<ParamsEntry[]> {
  const { names, end } = await readNames(source, options);
  const entries: ParamsEntry[] = [];
  let at = end;
  for (const name of names) {
    const first = await source.read(at, Math.min(ARRAY_WINDOW, source.size - at), options);
    let array = parseParamsArray(first, at, name, source);
    if (typeof array === "number") {
      array = parseParamsArray(await source.read(at, array, options), at, name, source) as ParamsArray;
    }
    entries.push({ name, ...array });
    at = array.offset + array.length;
  }
  if (at !== source.size) {
    throw fileErrors(source)("malformed", `it continues after its ${names.length} arrays`, { offset: at });
  }
  return entries;
}

async function readNames(source: ByteSource, options: ReadOptions): Promise<ParamsNames> {
  for (let window = WINDOW; ; window *= 2) {
    const bytes = await source.read(0, Math.min(window, source.size), options);
    const names = parseParamsNames(bytes, source);
    if (names) return names;
  }
}

function weightOf(
  { name, type, shape, offset, length }: ParamsEntry,
  file: number,
  notes: string[],
): WeightDraft {
  const at = { file, offset, length };
  const dtype = dtypeOfType(type);
  if (dtype) return { name, dtype, shape, at };
  const { code, bits, lanes } = type;
  const what = `DLPack type ${code} of ${bits} bits${lanes === 1 ? "" : ` and ${lanes} lanes`}`;
  notes.push(`Tensor "${shorten(name)}" is of ${what}, which tare does not know: kept as plain bytes`);
  return { name, dtype: "uint8", shape: [length], at };
}
