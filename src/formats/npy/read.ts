import { arrangedSource, columnMajor, rowMajor } from "../../encodings/arranged-source.ts";
import { inflatedSource } from "../../encodings/zip/inflated-source.ts";
import { readZip, type ZipMember } from "../../encodings/zip/read.ts";
import { fileErrors, type FileFail, FormatError } from "../../errors.ts";
import { type ByteSource, type ReadOptions, sliceSource } from "../../io/byte-source.ts";
import {
  LOOSE_NOTE,
  type LooseTensor,
  type MethodDraft,
  type ModelDraft,
  type WeightDraft,
} from "../../model/draft.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { npyHeaderSize, parseNpyHeader } from "./header.ts";
import { elementOf } from "./parse.ts";

/** Length of the first read, in bytes. Nearly every header is shorter. */
const WINDOW = 256;

/** What a file of arrays has. */
interface Found {
  readonly weights: WeightDraft[];
  readonly loose: LooseTensor[];
  readonly notes: string[];
}

/** An array: its own bytes, unpacked. */
interface NpyFile {
  readonly name: string;
  readonly source: ByteSource;
  /** Where it is in the model's file; `undefined` where it is compressed there. */
  readonly start: number | undefined;
}

/**
 * Reads NumPy files as models: a method for each file, a weight for each array of a .npz archive. Reads headers only.
 * Arrays in another form (compressed, big-endian, column-major) are loose tensors, and so are those of an archive that
 * cannot be read (strings, structures, objects): they stay in the file's other bytes, and a note of the draft says so.
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
    const found: Found = { weights: [], loose: [], notes };
    if (await isArchive({ path, source }, options)) await readArchive(source, file, found, options);
    else {
      const array = { name: name.split("/").at(-1) ?? name, source, start: 0 };
      await readArray(array, file, found, failureOf(source, array), options);
    }
    const { weights, loose } = found;
    methods.push({ name, file, weights, constants: [], ...(loose.length > 0 && { loose }) });
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
  found: Found,
  options: ReadOptions,
): Promise<void> {
  for (const member of await readZip(source, options)) {
    const name = member.name.replace(/\.npy$/, "");
    if (name === member.name) {
      found.notes.push(`"${name}" is no array: ${LOOSE_NOTE}`);
      continue;
    }
    const array = arrayIn(source, member, name);
    const fail = failureOf(source, array, member.start);
    try {
      await readArray(array, file, found, fail, options);
    } catch (error) {
      // Strange elements are a matter of one array. The others are whole.
      if (!(error instanceof FormatError) || error.code !== "unsupported") throw error;
      const form = error.message.slice(error.message.indexOf(": ") + 2).replace(/^its /, "one whose ");
      addLoose(found, { name, form, hint: error.hint });
    }
  }
}

function arrayIn(source: ByteSource, member: ZipMember, name: string): NpyFile {
  const { start, packed, compression } = member;
  const bytes = sliceSource(source, start, packed);
  if (compression === "stored") return { name, source: bytes, start };
  const fail = failureOf(source, { name, start: undefined }, start);
  return { name, source: inflatedSource(bytes, member, fail), start: undefined };
}

/** Makes the errors of an array. Offsets in a compressed one have no place in the file. */
function failureOf(
  source: ByteSource,
  { name, start }: Pick<NpyFile, "name" | "start">,
  memberStart = 0,
): FileFail {
  const inFile = fileErrors(source);
  return (code, reason, { offset = 0, hint } = {}) =>
    inFile(code, reason, { tensor: name, offset: start === undefined ? memberStart : start + offset, hint });
}

/** Reads an array as a weight or as a loose tensor. */
async function readArray(
  { name, source, start }: NpyFile,
  file: number,
  found: Found,
  fail: FileFail,
  options: ReadOptions,
): Promise<void> {
  let bytes = await source.read(0, Math.min(WINDOW, source.size), options);
  const headerSize = npyHeaderSize(bytes, fail);
  if (headerSize > bytes.byteLength) bytes = await source.read(0, Math.min(headerSize, source.size), options);
  const header = parseNpyHeader(bytes, fail);
  const { shape, dataStart } = header;
  const { dtype, width, swap } = elementOf(header, fail);
  const length = (elementCount(shape) ?? Number.NaN) * width;
  if (length !== source.size - dataStart) {
    throw fail(
      "size-mismatch",
      `[${shape.join(", ")}] ${header.descr} takes ${length} bytes, ${source.size - dataStart} are there`,
      { offset: dataStart },
    );
  }
  if (dtype === "string") {
    addLoose(found, { name, form: "of strings", hint: "Save it as numbers" });
    return;
  }
  const isColumnMajor = header.fortranOrder && shape.filter((size) => size !== 1).length > 1;
  if (start !== undefined && swap === 1 && !isColumnMajor) {
    found.weights.push({ name, dtype, shape, at: { file, offset: start + dataStart, length } });
    return;
  }
  const form = start === undefined ? "compressed" : swap > 1 ? "big-endian" : "column-major";
  const data = sliceSource(source, dataStart, length);
  const strides = isColumnMajor ? columnMajor(shape) : rowMajor(shape);
  const isPlain = swap === 1 && !isColumnMajor;
  const open = (): ByteSource =>
    isPlain ? data : arrangedSource(data, { width, shape, strides, offset: 0, swap });
  addLoose(found, { name, form, content: { dtype, shape, open } });
}

function addLoose({ loose, notes }: Found, tensor: LooseTensor): void {
  loose.push(tensor);
  notes.push(`Array "${tensor.name}" is ${tensor.form}: ${LOOSE_NOTE}`);
}
