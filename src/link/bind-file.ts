import { basename, dirname, resolve } from "node:path";
import type { ByteSource } from "../io/byte-source.ts";
import { openHttpSource } from "../io/http-source.ts";
import type { VarintArray } from "../io/varint-array.ts";
import { type Alias, aliasedWeights } from "../weights/aliased.ts";
import { matchWeights } from "../weights/match-weights.ts";
import type { WeightRef } from "../weights/open-ref.ts";
import { openWeights } from "../weights/open-weights.ts";
import { rangeWeights } from "../weights/range.ts";
import { readWeight } from "../weights/read-weight.ts";
import type { WeightLayout, WeightSource } from "../weights/weight-source.ts";
import { fetchSkeleton } from "../encodings/protobuf/fetch-skeleton.ts";
import { LinkError, SourceError } from "../errors.ts";
import type { TensorBinding } from "../formats/onnx/encode.ts";
import type { OnnxTensor } from "../formats/onnx/graph.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { MODEL_SHAPE } from "../formats/onnx/schema.ts";
import { parseSymbol } from "../formats/onnx/symbol.ts";
import { boundTensors } from "../formats/onnx/thin.ts";
import { varintSpelling } from "../formats/onnx/varint-spelling.ts";
import type { Digest } from "../tensor/digest.ts";
import type { TensorLayout } from "../tensor/tensor-layout.ts";
import { openFileSource } from "../node/file-source.ts";
import { openFolder } from "../node/model-folder.ts";
import { createSha256 } from "../node/sha256.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { bindingsOf } from "./bind.ts";
import type { BoundParts } from "./bound-parts.ts";
import { BoundProgram } from "./bound-program.ts";

/** Options of {@link bindFile}. */
export interface BindFileOptions {
  /** Weights of each scope of a symbolic program: `base::name` is weight `name` of scope `base`. */
  readonly scopes?: Readonly<Record<string, WeightRef>> | undefined;
  /** Allow requests to the URLs that the program names. */
  readonly remote?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Binds an ONNX file to its weights: in the file, in files beside it, in scopes or at URLs.
 * @throws LinkError `not-found` for a scope that is not given, `unsupported` for a URL without `remote`;
 * WeightMismatchError with every weight of a scope that does not match the program; FormatError, SourceError
 */
export async function bindFile(
  store: LocalStore,
  path: string,
  options: BindFileOptions = {},
): Promise<BoundProgram> {
  return new BoundProgram(await partsOf(store, path, options), store);
}

async function partsOf(store: LocalStore, path: string, options: BindFileOptions): Promise<BoundParts> {
  const opened = new OpenedWeights(store, path, options);
  try {
    const source = await opened.open(openFileSource(path));
    const view = await fetchSkeleton(source, MODEL_SHAPE, options);
    const graph = parseOnnx(view);
    const bound = boundTensors(graph);
    await opened.checkScopes([...bound.weights, ...bound.constants]);
    const table = new Map<string, Alias>();
    for (const tensor of bound.weights) table.set(tensor.name, await opened.aliasOf(tensor, source));
    const constants = new Map<string, TensorBinding>();
    const hash = createSha256();
    hash.update(new TextEncoder().encode(JSON.stringify(view.gaps)));
    hash.update(view.bytes);
    for (const tensor of bound.constants) {
      const { owner, key } = await opened.aliasOf(tensor, source);
      using held = await readWeight(owner, key, options);
      constants.set(tensor.name, { kind: "inline", bytes: held.bytes });
      hash.update(held.bytes);
    }
    const bind = (name: string): TensorBinding => constants.get(name) ?? unbound(name, path);
    const bindings = await bindingsOf(table, store);
    return {
      name: path,
      method: basename(path, ".onnx"),
      program: { view, graph, bind, bound },
      digest: hash.digest(),
      constants: [],
      data: aliasedWeights(path, table),
      bindings,
      close: () => opened[Symbol.asyncDispose](),
    };
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

/** Dtype, shape and digest of a tensor, as the program declares them. */
interface Declared extends TensorLayout {
  readonly name: string;
  readonly digest: Digest | undefined;
}

/** The files, scopes and URLs of a program's weights, each opened once. */
class OpenedWeights implements AsyncDisposable {
  readonly #store: LocalStore;
  readonly #path: string;
  readonly #options: BindFileOptions;
  readonly #folder: ReturnType<typeof openFolder>;
  readonly #open: AsyncDisposable[] = [];
  readonly #scopes = new Map<string, WeightSource>();
  readonly #sources = new Map<string, ByteSource>();

  constructor(store: LocalStore, path: string, options: BindFileOptions) {
    this.#store = store;
    this.#path = path;
    this.#options = options;
    this.#folder = openFolder(dirname(resolve(path)), [basename(path)]);
    this.#open.push(this.#folder);
  }

  async open<T extends AsyncDisposable>(opening: Promise<T>): Promise<T> {
    const opened = await opening;
    this.#open.push(opened);
    return opened;
  }

  /**
   * Matches the tensors of each scope with the weights that are given for it.
   * @throws LinkError `not-found` for a scope that is not given; WeightMismatchError
   */
  async checkScopes(tensors: readonly OnnxTensor[]): Promise<void> {
    type Used = Map<string, { readonly declared: Declared; readonly key: string }>;
    const scopes = new Map<WeightSource, Used>();
    for (const tensor of tensors) {
      const symbol = tensor.data.kind === "external" ? parseSymbol(tensor.data.location) : undefined;
      if (!symbol) continue;
      const owner = await this.#scope(symbol.scope, tensor.name);
      const used: Used = scopes.get(owner) ?? new Map();
      used.set(tensor.name, { declared: this.#declared(tensor), key: symbol.key });
      scopes.set(owner, used);
    }
    for (const [owner, used] of scopes) {
      const expected = [...used.values()].map(({ declared }) => declared);
      // Match by the program's names, since two tensors may use the same weight of the scope.
      const byName = {
        name: owner.name,
        keys: () => used.keys(),
        layout: (name: string) => owner.layout(used.get(name)?.key ?? name),
      };
      matchWeights(expected, byName, { program: this.#path });
    }
  }

  /** Finds the source that has the bytes of a tensor, and its key there. */
  async aliasOf(tensor: OnnxTensor, program: ByteSource): Promise<Alias> {
    const { data } = tensor;
    const declared = this.#declared(tensor);
    if (data.kind === "other") throw unbound(tensor.name, this.#path);
    if (data.kind !== "external") {
      const varint = data.kind === "varint" ? await varintSpelling(program, data, declared.dtype) : undefined;
      return this.#range(declared, program, data.offset, data.length, varint);
    }
    const symbol = parseSymbol(data.location);
    if (!symbol) {
      const source = await this.#sourceAt(data.location, tensor.name);
      return this.#range(declared, source, data.offset, data.length);
    }
    const owner = await this.#scope(symbol.scope, tensor.name);
    const layout = owner.layout(symbol.key) as WeightLayout;
    return { owner, key: symbol.key, layout: { ...layout, digest: declared.digest ?? layout.digest } };
  }

  #declared({ name, dtype, shape, data }: OnnxTensor): Declared {
    if (dtype === "string") throw unbound(name, this.#path);
    return { name, dtype, shape, digest: data.kind === "external" ? data.digest : undefined };
  }

  #range(
    { name, dtype, shape, digest }: Declared,
    source: ByteSource,
    offset: number,
    length: number,
    varint?: VarintArray,
  ): Alias {
    if (length > source.size - offset) {
      throw new LinkError(
        "size-mismatch",
        `Cannot bind weight "${name}" of "${this.#path}": it ends at byte ${offset + length} of "${source.name}", which has ${source.size}`,
        { path: source.name, tensor: name, offset },
      );
    }
    const layout = { dtype, shape, digest };
    const owner = rangeWeights(source.name, [
      { key: name, layout, path: source.name, offset, length, varint, source },
    ]);
    return { owner, key: name, layout: owner.layout(name) as WeightLayout };
  }

  async #scope(scope: string, tensor: string): Promise<WeightSource> {
    const known = this.#scopes.get(scope);
    if (known) return known;
    const { scopes = {}, signal } = this.#options;
    const source = Object.hasOwn(scopes, scope) ? scopes[scope] : undefined;
    if (source === undefined) {
      throw new LinkError(
        "not-found",
        `Cannot bind weight "${tensor}" of "${this.#path}": its scope "${scope}" is not given`,
        {
          path: this.#path,
          tensor,
          hint: `Add --scope ${scope}=WEIGHTS with a model of the store, a file or folder, or a URL`,
        },
      );
    }
    const data = await this.open(openWeights(source, { store: this.#store, signal }));
    this.#scopes.set(scope, data);
    return data;
  }

  async #sourceAt(location: string, tensor: string): Promise<ByteSource> {
    const known = this.#sources.get(location);
    if (known) return known;
    const source = /^https?:/i.test(location)
      ? await this.#fetched(location, tensor)
      : await this.#folder.open(location, { signal: this.#options.signal });
    if (!source) {
      throw new SourceError("not-found", `Cannot find "${location}", which has weights of "${this.#path}"`, {
        path: location,
        tensor,
        hint: "Put the file where the program expects it, relative to the program's folder",
      });
    }
    this.#sources.set(location, source);
    return source;
  }

  /** Opens a URL, if `remote` is set: a program from another person must not cause requests without permission. */
  async #fetched(url: string, tensor: string): Promise<ByteSource> {
    if (this.#options.remote) return openHttpSource(url, { signal: this.#options.signal });
    throw new LinkError("unsupported", `Cannot bind weight "${tensor}" of "${this.#path}": it is at ${url}`, {
      path: this.#path,
      tensor,
      hint: "Allow tare to fetch it with --remote",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#open.splice(0)) await each[Symbol.asyncDispose]();
  }
}

function unbound(name: string, path: string): never {
  throw new LinkError("unsupported", `Cannot bind tensor "${name}" of "${path}"`, { path, tensor: name });
}
