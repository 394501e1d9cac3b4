import { type ByteSource, type ReadOptions, sliceSource } from "../../io/byte-source.ts";
import { readZip } from "../../encodings/zip/read.ts";
import type { MethodDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { fileErrors, type FileFail } from "../../errors.ts";
import { npyHeaderSize, parseNpyHeader } from "./header.ts";
import { elementOf } from "./parse.ts";

/** Length of the first read, in bytes. Nearly every header is shorter. */
const WINDOW = 256;

/**
 * Reads NumPy files as models: a method for each file, a weight for each array of a .npz archive. Reads headers only.
 * Arrays that cannot be used in place (compressed, big-endian, column-major, strings) are not weights: they stay in the
 * file's other bytes, and a note of the draft says so.
 * @throws FormatError with file, tensor and offset
 */
export async function readNumpy(
  files: readonly ModelFile[],
  _folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const notes: string[] = [];
  const methods: MethodDraft[] = [];
  for (const [file, { path, source }] of files.entries()) {
    const name = path.replace(/\.[^./]+$/, "") || path;
    const weights = (await isArchive({ path, source }, options))
      ? await readArchive(source, file, notes, options)
      : await readSingle(source, file, name, notes, options);
    methods.push({ name, file, weights, constants: [] });
  }
  const draft = { format: "numpy", methods, files: files.map(({ path, source }) => ({ path, source })) };
  return notes.length > 0 ? { ...draft, notes } : draft;
}

/** Whether a file is an archive of arrays, by its name, else by its first bytes. */
async function isArchive({ path, source }: ModelFile, options: ReadOptions): Promise<boolean> {
  const [, named] = /\.np([yz])$/i.exec(path) ?? [];
  if (named !== undefined) return named.toLowerCase() === "z";
  return String.fromCharCode(...(await source.read(0, Math.min(2, source.size), options))) === "PK";
}

async function readArchive(
  source: ByteSource,
  file: number,
  notes: string[],
  options: ReadOptions,
): Promise<WeightDraft[]> {
  const weights: WeightDraft[] = [];
  for (const { name, start, packed, compression } of await readZip(source, options)) {
    const tensor = name.replace(/\.npy$/, "");
    if (tensor === name) notes.push(`"${name}" is no array: kept as plain bytes`);
    else if (compression !== "stored") notes.push(`Array "${tensor}" is compressed: kept as plain bytes`);
    else
      weights.push(
        ...(await readArray(sliceSource(source, start, packed), start, file, tensor, notes, options)),
      );
  }
  return weights;
}

async function readSingle(
  source: ByteSource,
  file: number,
  name: string,
  notes: string[],
  options: ReadOptions,
): Promise<WeightDraft[]> {
  return readArray(source, 0, file, name.split("/").at(-1) ?? name, notes, options);
}

/** Reads an array as a weight, or adds a note. */
async function readArray(
  source: ByteSource,
  start: number,
  file: number,
  name: string,
  notes: string[],
  options: ReadOptions,
): Promise<WeightDraft[]> {
  const inFile = fileErrors(source);
  const fail: FileFail = (code, reason, { offset = 0, hint } = {}) =>
    inFile(code, reason, { tensor: name, offset: start + offset, hint });
  let bytes = await source.read(0, Math.min(WINDOW, source.size), options);
  const headerSize = npyHeaderSize(bytes, fail);
  if (headerSize > bytes.byteLength) bytes = await source.read(0, Math.min(headerSize, source.size), options);
  const header = parseNpyHeader(bytes, fail);
  const { shape, dataStart, fortranOrder } = header;
  const { dtype, width, swap } = elementOf(header, fail);
  const length = (elementCount(shape) ?? Number.NaN) * width;
  if (length !== source.size - dataStart) {
    throw fail(
      "size-mismatch",
      `[${shape.join(", ")}] ${header.descr} takes ${length} bytes, ${source.size - dataStart} are there`,
      { offset: dataStart },
    );
  }
  if (dtype !== "string" && swap === 1 && !(fortranOrder && shape.length > 1)) {
    return [{ name, dtype, shape, at: { file, offset: start + dataStart, length } }];
  }
  const reason = dtype === "string" ? "of strings" : swap > 1 ? "big-endian" : "column-major";
  notes.push(`Array "${name}" is ${reason}: kept as plain bytes`);
  return [];
}
