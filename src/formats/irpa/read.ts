import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { parseStrictJson } from "../../encodings/json.ts";
import { FormatError, shorten } from "../../errors.ts";
import type { ModelDraft, WeightDraft } from "../../model/draft.ts";
import { type DType, isDType, tensorBytes } from "../../tensor/dtype.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { readPerFile } from "../method-per-file.ts";
import {
  type IrpaData,
  type IrpaEntry,
  parseIrpaEntries,
  parseIrpaHeader,
  type IrpaSegment,
} from "./parse.ts";
import { STRUCT_BYTES, TENSOR_METADATA } from "./schema.ts";

/** Longest metadata that is parsed, in bytes. A tensor's dtype and shape take some 200. */
const MAX_METADATA_LENGTH = 4096;

/**
 * Reads IREE parameter archives: a method for each file, a weight for each parameter with data. The format has neither
 * types nor shapes: a weight has those of its metadata, which IREE's Python tools write, and is plain bytes otherwise.
 * Splats are part of the program; a note of the draft counts them.
 * Reads the header, the entry table and the metadata only.
 * @throws FormatError with file, tensor and offset
 */
export async function readIrpa(
  files: readonly ModelFile[],
  _folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  return readPerFile("irpa", files, async (source, file, notes) => {
    const entries = await readIrpaEntries(source, options);
    const splats = entries.filter(({ kind }) => kind === "splat");
    if (splats.length > 0) {
      notes.push(
        `Parameters of one repeated pattern are part of the program of "${source.name}": ${splats.length}`,
      );
    }
    return entries
      .filter((entry) => entry.kind === "data")
      .map((entry) => weightOf(entry, file, source.name, notes));
  });
}

/**
 * Reads the entries of an archive.
 * @throws FormatError what {@link parseIrpaHeader} and {@link parseIrpaEntries} throw
 */
export async function readIrpaEntries(source: ByteSource, options: ReadOptions = {}): Promise<IrpaEntry[]> {
  const first = await source.read(0, Math.min(source.size, STRUCT_BYTES.header), options);
  const header = parseIrpaHeader(first, source);
  const read = ({ offset, length }: IrpaSegment): Promise<Uint8Array> => source.read(offset, length, options);
  return parseIrpaEntries(await read(header.entries), await read(header.metadata), header, source);
}

function weightOf(entry: IrpaData, file: number, path: string, notes: string[]): WeightDraft {
  const { name, offset, length } = entry;
  const at = { file, offset, length };
  const tensor = tensorOf(entry, path);
  if (tensor) return { name, ...tensor, at };
  if (entry.metadata.byteLength > 0) {
    notes.push(
      `Parameter "${shorten(name)}" has metadata without a fitting dtype and shape: kept as plain bytes`,
    );
  }
  return { name, dtype: "uint8", shape: [length], at };
}

/** The dtype and shape in the metadata, if the data has their size. */
function tensorOf(
  { metadata, length }: IrpaData,
  path: string,
): { dtype: DType; shape: readonly number[] } | undefined {
  if (metadata.byteLength > MAX_METADATA_LENGTH) return undefined;
  const text = new TextDecoder().decode(metadata);
  const prefix = TENSOR_METADATA.find((each) => text.startsWith(each));
  if (prefix === undefined) return undefined;
  let json: unknown;
  try {
    json = parseStrictJson(text.slice(prefix.length), path);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
  if (typeof json !== "object" || json === null) return undefined;
  const { dtype, shape } = json as Record<string, unknown>;
  if (typeof dtype !== "string" || !isDType(dtype) || !Array.isArray(shape)) return undefined;
  return tensorBytes(dtype, shape as number[]) === length ? { dtype, shape: shape as number[] } : undefined;
}
