import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { parsePages } from "../../encodings/flatbuffer/pages.ts";
import type { MethodDraft, ModelDraft } from "../../model/draft.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { ExternalData } from "./external.ts";
import { fileErrors, shorten } from "../../errors.ts";
import { readDataHeader, readProgramHeader } from "./header.ts";
import { type ParsedData, parseData } from "./parse-data.ts";
import { type ParsedProgram, parseProgram } from "./parse-program.ts";
import { DATA_LETTERS } from "./schema.ts";
import { type ExecutorchWeight, namedDataWeights, plainBytesNotes, planWeights } from "./weights.ts";

/** A file with its parsed tables. */
type ReadFile =
  | { readonly path: string; readonly source: ByteSource; readonly program: ParsedProgram }
  | { readonly path: string; readonly source: ByteSource; readonly data: ParsedData };

/**
 * Reads ExecuTorch programs (.pte) and data files (.ptd): a method for each method of a program, and for each data
 * file. Weights are constants, initial values of mutable tensors, blobs of delegates, and named data. Tensors in other
 * files are found in the given data files, or in the one with the program's name. Reads tables only. Bytes that are not
 * row-major, or of unknown types, are plain bytes; notes of the draft say so, and name missing tensors. Each of several
 * programs has the data files that are named for it, and those that are named for none.
 * @throws FormatError with file, tensor and offset; `mismatch` if program and data file disagree on a tensor,
 * `duplicate` if two data files have a tensor that a program needs
 */
export async function readExecutorch(
  files: readonly ModelFile[],
  folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const all: ReadFile[] = [];
  for (const file of files) all.push(await readFile(file, options));
  const named: ReadFile[] = [];
  for (const file of all) {
    if (!("program" in file) || all.some((each) => "data" in each) || !needsData(file.program)) continue;
    const path = `${stem(file.path)}.ptd`;
    const source = await folder.open(path, options);
    if (source) named.push(await readFile({ path, source }, options));
  }
  all.push(...named);
  const external = new ExternalData(
    all.flatMap((file, nth) =>
      "data" in file
        ? [{ ...file.data, file: nth, source: file.source, owner: ownerOf(file.path, all) }]
        : [],
    ),
  );
  const notes: string[] = [];
  const methods = all.flatMap((file, nth) => methodsOf(file, nth, all, external, notes));
  refuseSameNames(methods, all);
  const draft = { format: "executorch", methods, files: all.map(({ path, source }) => ({ path, source })) };
  return notes.length > 0 ? { ...draft, notes } : draft;
}

/**
 * Reads the tables of a program.
 * @throws FormatError
 */
export async function readProgram(source: ByteSource, options: ReadOptions = {}): Promise<ParsedProgram> {
  const extent = await readProgramHeader(source, options);
  return parsePages(source, extent.tables, (pages) => parseProgram(pages, extent), options);
}

/**
 * Reads the tables of a data file.
 * @throws FormatError
 */
export async function readData(source: ByteSource, options: ReadOptions = {}): Promise<ParsedData> {
  const extent = await readDataHeader(source, options);
  return parsePages(source, extent.tables, (pages) => parseData(pages, extent), options);
}

async function readFile({ path, source }: ModelFile, options: ReadOptions): Promise<ReadFile> {
  return (await isData({ path, source }, options))
    ? { path, source, data: await readData(source, options) }
    : { path, source, program: await readProgram(source, options) };
}

/** Whether a file is a data file, by its name, else by its first bytes. */
export async function isData({ path, source }: ModelFile, options: ReadOptions = {}): Promise<boolean> {
  const [, named] = /\.pt([de])$/i.exec(path) ?? [];
  if (named !== undefined) return named.toLowerCase() === "d";
  return (
    source.size >= 8 && String.fromCharCode(...(await source.read(4, 4, options))).startsWith(DATA_LETTERS)
  );
}

/** The program that a data file is named for: `first.pte` for `first-adapter.ptd`. */
function ownerOf(path: string, all: readonly ReadFile[]): number | undefined {
  const name = stem(path);
  let owner: number | undefined;
  for (const [nth, file] of all.entries()) {
    if (!("program" in file)) continue;
    const program = stem(file.path);
    const isNamed =
      name === program || (name.startsWith(program) && /^[-_.]/.test(name.slice(program.length)));
    // The longest name wins: "a-b.ptd" fits "a.pte" and "a-b.pte".
    if (isNamed && program.length > stem(all[owner ?? -1]?.path ?? "").length) owner = nth;
  }
  return owner;
}

function needsData(program: ParsedProgram): boolean {
  return program.plans.some(({ tensors }) => tensors.some(({ external }) => external));
}

function methodsOf(
  file: ReadFile,
  nth: number,
  all: readonly ReadFile[],
  external: ExternalData,
  notes: string[],
): MethodDraft[] {
  if ("data" in file) {
    const weights = namedDataWeights(file.data, nth);
    notes.push(...plainBytesNotes(weights));
    return [methodOf(stem(file.path), nth, weights)];
  }
  const { program, source } = file;
  const fail = fileErrors(source);
  const several = all.filter((each) => "program" in each).length > 1;
  const found: ExecutorchWeight[] = [];
  const methods = program.plans.map((plan) => {
    const find = external.finder(namedDataWeights(program, nth), source, nth);
    const { weights, missing } = planWeights(program, plan, nth, find, fail);
    // One by one: so many arguments of one call may overflow the stack.
    for (const weight of weights) if (weight.at.file === nth) found.push(weight);
    if (missing.length > 0) notes.push(missingNote(plan.name, missing));
    return methodOf(several ? `${stem(file.path)}/${plan.name}` : plan.name, nth, weights);
  });
  notes.push(...plainBytesNotes(found));
  return methods;
}

function methodOf(name: string, file: number, found: readonly ExecutorchWeight[]): MethodDraft {
  const weights = found.map(({ name: weight, dtype, shape, at }) => ({ name: weight, dtype, shape, at }));
  return { name, file, weights, constants: [] };
}

function missingNote(method: string, [first = "", ...others]: readonly string[]): string {
  const more = others.length > 0 ? ` and ${others.length} more` : "";
  return `Method "${shorten(method)}" takes "${shorten(first)}"${more} from a data file that was not given: add it with the program`;
}

function stem(path: string): string {
  return path.replace(/\.pt[ed]$/i, "");
}

function refuseSameNames(methods: readonly MethodDraft[], all: readonly ReadFile[]): void {
  const names = new Map<string, number>();
  for (const { name, file } of methods) {
    const other = names.get(name);
    if (other === undefined) {
      names.set(name, file);
      continue;
    }
    const reason = `it and "${all[other]?.path}" both have a method "${shorten(name)}"`;
    throw fileErrors({ name: all[file]?.path as string })("duplicate", reason, {
      hint: "Rename the data file, or add each model by itself",
    });
  }
}
