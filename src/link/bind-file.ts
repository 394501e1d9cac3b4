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
  /** References for a program's scopes: `base::name` is weight `name` of `base`. */
  readonly scopes?: Readonly<Record<string, WeightRef>> | undefined;
  /** Let URLs that the program names be fetched. */
  readonly remote?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Joins an ONNX file with its weights, where it says they are: inside, in files beside it, in scopes, on the web.
 * @throws LinkError `not-found` for a scope that is not given, `unsupported` for a URL that is not allowed;
 * WeightMismatchError with every weight of a scope that is not what the program says; FormatError, SourceError
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

/** A tensor whose dtype, shape and digest the program says. */
interface Said extends TensorLayout {
  readonly name: string;
  readonly digest: Digest | undefined;
}

/** What a program's weights are in, each opened once. */
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
   * Matches the tensors of each scope with what is given for it.
   * @throws LinkError `not-found` for a scope that is not given; WeightMismatchError
   */
  async checkScopes(tensors: readonly OnnxTensor[]): Promise<void> {
    const scopes = new Map<WeightSource, Map<string, { readonly said: Said; readonly key: string }>>();
    for (const tensor of tensors) {
      const symbol = tensor.data.kind === "external" ? parseSymbol(tensor.data.location) : undefined;
      if (!symbol) continue;
      const owner = await this.#scope(symbol.scope, tensor.name);
      const used = scopes.get(owner) ?? new Map<string, { readonly said: Said; readonly key: string }>();
      used.set(tensor.name, { said: this.#said(tensor), key: symbol.key });
      scopes.set(owner, used);
    }
    for (const [owner, used] of scopes) {
      const expected = [...used.values()].map(({ said }) => said);
      // Two tensors may be one weight of the scope: it is looked up by the program's names.
      const byName = {
        name: owner.name,
        keys: () => used.keys(),
        layout: (name: string) => owner.layout(used.get(name)?.key ?? name),
      };
      matchWeights(expected, byName, { program: this.#path });
    }
  }

  /** Where a tensor's bytes are. */
  async aliasOf(tensor: OnnxTensor, program: ByteSource): Promise<Alias> {
    const { data } = tensor;
    const said = this.#said(tensor);
    if (data.kind === "other") throw unbound(tensor.name, this.#path);
    if (data.kind !== "external") {
      const varint = data.kind === "varint" ? await varintSpelling(program, data, said.dtype) : undefined;
      return this.#range(said, program, data.offset, data.length, varint);
    }
    const symbol = parseSymbol(data.location);
    if (!symbol) {
      const source = await this.#sourceAt(data.location, tensor.name);
      return this.#range(said, source, data.offset, data.length);
    }
    const owner = await this.#scope(symbol.scope, tensor.name);
    const layout = owner.layout(symbol.key) as WeightLayout;
    return { owner, key: symbol.key, layout: { ...layout, digest: said.digest ?? layout.digest } };
  }

  #said({ name, dtype, shape, data }: OnnxTensor): Said {
    if (dtype === "string") throw unbound(name, this.#path);
    return { name, dtype, shape, digest: data.kind === "external" ? data.digest : undefined };
  }

  #range(
    { name, dtype, shape, digest }: Said,
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
          hint: `--scope ${scope}=WEIGHTS: a model of the store, a file or folder, or a URL`,
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
        hint: "put it beside the program, where it was linked",
      });
    }
    this.#sources.set(location, source);
    return source;
  }

  /** A file that somebody sent must not make this machine ask others for anything, unless its user wants that. */
  async #fetched(url: string, tensor: string): Promise<ByteSource> {
    if (this.#options.remote) return openHttpSource(url, { signal: this.#options.signal });
    throw new LinkError("unsupported", `Cannot bind weight "${tensor}" of "${this.#path}": it is at ${url}`, {
      path: this.#path,
      tensor,
      hint: "--remote lets it be fetched from there",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#open.splice(0)) await each[Symbol.asyncDispose]();
  }
}

function unbound(name: string, path: string): never {
  throw new LinkError("unsupported", `Cannot bind tensor "${name}" of "${path}"`, { path, tensor: name });
}
