import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as v from "valibot";
import type { Backend } from "./backends/backend.ts";
import { checkPart } from "./backends/compiled-file.ts";
import {
  type CompiledBinding,
  type CompiledModel,
  compiledModelJson,
  type CompiledPartition,
  parseCompiledModel,
} from "./backends/compiled-model.ts";
import { checkCompileCompatibility } from "./backends/fit.ts";
import { parseStrictJson } from "../encodings/json.ts";
import type { Session } from "../engines/engine.ts";
import { type OnnxRuntime, openOnnxRuntime, type OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import { LinkError, SourceError } from "../errors.ts";
import { digestSchema, isPlainPath, parseShape, sizeSchema } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import { fileError, openFileSource } from "../node/file-source.ts";
import { thisMachine } from "../node/machine.ts";
import { sha256 } from "../node/sha256.ts";
import { chooseBackends } from "./backends.ts";
import { loadCompiledMethod } from "./load-compiled.ts";
import { type FolderWeight, requireFolderWeights } from "./require-folder-weights.ts";

/** Name of the record in a folder of compiled programs. */
export const COMPILED_RECORD = "compiled.json";

/** Record of a folder of compiled programs. */
export interface FolderRecord {
  readonly compiled: CompiledModel;
  /** Path of each program and of the data of backends, by digest. */
  readonly files: readonly { readonly digest: Digest; readonly path: string }[];
  readonly weights: readonly FolderWeight[];
}

const path = v.pipe(v.string(), v.check(isPlainPath, "not a plain relative path"));
const folder = v.strictObject({
  compiled: v.unknown(),
  files: v.array(v.strictObject({ digest: digestSchema, path })),
  weights: v.array(v.strictObject({ digest: digestSchema, path, offset: sizeSchema, length: sizeSchema })),
});

/** Converts a record to the JSON that {@link parseFolderRecord} reads. */
export function folderRecordJson({ compiled, files, weights }: FolderRecord): unknown {
  return { compiled: compiledModelJson(compiled), files, weights };
}

/**
 * Parses the record of a folder.
 * @throws FormatError `malformed`, `newer-version`
 */
export function parseFolderRecord(value: unknown, name: string): FolderRecord {
  const { compiled, files, weights } = parseShape(
    folder as v.GenericSchema<v.InferOutput<typeof folder>>,
    value,
    name,
  );
  return { compiled: parseCompiledModel(compiled, name), files, weights };
}

/** Options of {@link CompiledFolder.load}. */
export interface CompiledLoadOptions extends Omit<OrtLoadOptions, "level"> {
  /** Name of the method; optional if the model has one method. */
  readonly method?: string | undefined;
  /** Hash every weight before the load. By default, only the existence and size of each weight are checked. */
  readonly verify?: boolean | undefined;
}

/** Options of {@link openCompiled}. */
export interface OpenCompiledOptions {
  /** Other backends that compiled partitions; the built-in ones need not be given. */
  readonly backends?: readonly Backend[] | undefined;
  /** Number of threads that run sessions; the number of cores, up to 4, unless given. */
  readonly workers?: number | undefined;
}

/**
 * Opens a folder of compiled programs, which `Runtime.writeCompiled` wrote. Needs no store.
 * @throws EngineError `mismatch`, `no-engine` for programs of another machine or engine; FormatError; SourceError
 */
export async function openCompiled(at: string, options: OpenCompiledOptions = {}): Promise<CompiledFolder> {
  let engine: OnnxRuntime | undefined;
  const open = async (): Promise<OnnxRuntime> => (engine ??= openOnnxRuntime({ workers: options.workers }));
  const machine = thisMachine();
  const backends = chooseBackends(options.backends ?? [], open, machine);
  const root = resolve(at);
  const name = join(root, COMPILED_RECORD);
  const text = await readFile(name, "utf8").catch((cause: unknown) => {
    throw fileError(name, "read", cause);
  });
  const record = parseFolderRecord(parseStrictJson(text, name), name);
  checkCompileCompatibility(record.compiled.records, backends, machine, name);
  return new OpenedFolder(root, record, backends, open);
}

/** A folder of compiled programs and their weights. Dispose it to end its sessions. */
export interface CompiledFolder extends AsyncDisposable {
  readonly model: CompiledModel;
  /**
   * Loads a method from the files of the folder.
   * @throws WeightMismatchError with every weight that is missing or does not match; LinkError, FormatError, SourceError, EngineError
   */
  load(options?: CompiledLoadOptions): Promise<Session>;
}

class OpenedFolder implements CompiledFolder {
  readonly model: CompiledModel;
  readonly #path: string;
  readonly #files: ReadonlyMap<Digest, string>;
  readonly #weights: ReadonlyMap<Digest, FolderWeight>;

  readonly #backends: readonly Backend[];
  readonly #open: () => Promise<OnnxRuntime>;
  #engine: Promise<OnnxRuntime> | undefined;

  constructor(
    path: string,
    { compiled, files, weights }: FolderRecord,
    backends: readonly Backend[],
    open: () => Promise<OnnxRuntime>,
  ) {
    this.#path = path;
    this.model = compiled;
    this.#files = new Map(files.map((file) => [file.digest, file.path]));
    this.#weights = new Map(weights.map((weight) => [weight.digest, weight]));
    this.#backends = backends;
    this.#open = open;
  }

  async load(options: CompiledLoadOptions = {}): Promise<Session> {
    const { method, verify, signal } = options;
    const { methods } = this.model;
    const found =
      method === undefined && methods.length === 1
        ? methods[0]
        : methods.find((each) => each.name === method);
    if (!found) {
      throw new LinkError("not-found", `Cannot find method "${method ?? ""}" in "${this.#path}"`, {
        path: this.#path,
        hint: `Choose one of ${methods.map((each) => each.name).join(", ")}`,
      });
    }
    // Check sizes first: reading a mapped page past the end of a truncated file ends the process.
    await requireFolderWeights(this.#path, found, this.#weights, { verify, signal });
    const places = {
      folder: this.#path,
      program: ({ program }: CompiledPartition) => this.#part(program.digest),
      data: async (key: string) => {
        const data = this.model.data.find((each) => each.key === key);
        return data && this.#part(data.digest);
      },
      locate: (binding: CompiledBinding) => {
        const { path: location, offset, length } = this.#weights.get(binding.digest) as FolderWeight;
        return { location, offset, length, read: () => this.#read(location, offset, length) };
      },
    };
    this.#engine ??= this.#open();
    return loadCompiledMethod(found, places, await this.#engine, this.#backends, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#engine)?.[Symbol.asyncDispose]();
  }

  async #part(digest: Digest): Promise<Uint8Array> {
    const file = this.#files.get(digest);
    if (file === undefined) {
      throw new SourceError("not-found", `Cannot find ${digest} in "${this.#path}"`, {
        path: this.#path,
        digest,
      });
    }
    const name = join(this.#path, file);
    const bytes = await readFile(name).catch((cause: unknown) => {
      throw fileError(name, "read", cause);
    });
    checkPart(bytes, digest, sha256(bytes), name);
    return bytes;
  }

  async #read(location: string, offset: number, length: number): Promise<Uint8Array> {
    await using source = await openFileSource(join(this.#path, location));
    return await source.read(offset, length);
  }
}
