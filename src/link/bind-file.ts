import { basename, dirname, resolve } from "node:path";
import type { ByteSource, ReadOptions } from "../io/byte-source.ts";
import type { ByteEncoding } from "../io/byte-encoding.ts";
import { openHttpSource } from "../io/http-source.ts";
import { type Alias, aliasedWeights } from "../weights/aliased.ts";
import type { WeightSource } from "../weights/weight-source.ts";
import { borrowed, rangeWeights } from "../weights/range.ts";
import { sameLayout, formatLayout } from "../tensor/tensor-layout.ts";
import { fetchSkeleton } from "../encodings/protobuf/fetch-skeleton.ts";
import { LinkError, SourceError } from "../errors.ts";
import type { TensorBinding } from "../formats/onnx/encode.ts";
import type { OnnxTensor } from "../formats/onnx/graph.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { MODEL_SHAPE } from "../formats/onnx/schema.ts";
import { parseSymbol } from "../formats/onnx/symbol.ts";
import { boundTensors } from "../formats/onnx/thin.ts";
import type { Digest } from "../tensor/digest.ts";
import { type DType, tensorBytes } from "../tensor/dtype.ts";
import { varintArrayOf } from "../tensor/varint-dtype.ts";
import { openFileSource } from "../node/file-source.ts";
import { openFolder } from "../node/model-folder.ts";
import { createSha256 } from "../node/sha256.ts";
import { bindingsOf } from "./bind.ts";
import type { BoundParts } from "./bound-parts.ts";
import { openWeights, type WeightRef } from "../weights/open.ts";
import type { LocalStore } from "../local-store/local-store.ts";

/** Options of {@link bindFile}. */
export interface BindFileOptions {
  /** What a program's scopes stand for: `base::name` is weight `name` of `base`. */
  readonly scopes?: Readonly<Record<string, WeightRef>> | undefined;
  /** Let URLs that the program names be fetched. */
  readonly remote?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Joins an ONNX file with its weights, where it says they are: inside, in files beside it, in scopes, on the web.
 * @throws LinkError `not-found` for a scope that nobody gave, `mismatch` for a weight that is not what the program says,
 * `unsupported` for a URL that was not allowed; FormatError, SourceError
 */
export async function bindFile(
  store: LocalStore,
  path: string,
  options: BindFileOptions,
): Promise<BoundParts> {
  const opened = new OpenedWeights(store, path, options);
  try {
    const source = await opened.open(openFileSource(path));
    const view = await fetchSkeleton(source, MODEL_SHAPE, options);
    const graph = parseOnnx(view);
    const bound = boundTensors(graph);
    const table = new Map<string, Alias>();
    for (const tensor of bound.weights) table.set(tensor.name, await opened.aliasOf(tensor, source));
    const constants = new Map<string, TensorBinding>();
    const hash = createSha256();
    hash.update(new TextEncoder().encode(JSON.stringify(view.gaps)));
    hash.update(view.bytes);
    for (const tensor of bound.constants) {
      const { owner, key } = await opened.aliasOf(tensor, source);
      using held = await owner.data(key, options);
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

  /** Where a tensor's bytes are: of the dtype, the shape and the digest that the program says. */
  async aliasOf(tensor: OnnxTensor, program: ByteSource): Promise<Alias> {
    const { name, dtype, shape, data } = tensor;
    if (dtype === "string" || data.kind === "other") throw unbound(name, this.#path);
    const said = { dtype, shape, digest: data.kind === "external" ? data.digest : undefined };
    if (data.kind !== "external") {
      const spelling = data.kind === "varint" ? { varint: varintArrayOf(dtype) } : {};
      return this.#range(name, said, program, data.offset, data.length, spelling);
    }
    const symbol = parseSymbol(data.location);
    if (!symbol) {
      const source = await this.#sourceAt(data.location, name);
      return this.#range(name, said, source, data.offset, data.length);
    }
    const owner = await this.#scope(symbol.scope, name);
    const layout = owner.layout(symbol.key);
    const refuse = (code: "missing-weight" | "mismatch", reason: string): LinkError =>
      new LinkError(code, `Cannot bind weight "${name}" of "${this.#path}": ${reason}`, {
        path: this.#path,
        tensor: name,
        offset: tensor.frame.start,
      });
    if (!layout)
      throw refuse("missing-weight", `"${owner.name}", its ${symbol.scope}, has no "${symbol.key}"`);
    if (!sameLayout(said, layout)) {
      throw refuse(
        "mismatch",
        `the program wants ${formatLayout(said)}, "${owner.name}" has ${formatLayout(layout)}`,
      );
    }
    if (said.digest && layout.digest && said.digest !== layout.digest) {
      throw refuse("mismatch", `the program wants ${said.digest}, "${owner.name}" has ${layout.digest}`);
    }
    return { owner, key: symbol.key, layout: { ...layout, digest: said.digest ?? layout.digest } };
  }

  #range(
    name: string,
    layout: { dtype: DType; shape: readonly number[]; digest: Digest | undefined },
    source: ByteSource,
    offset: number,
    length: number,
    spelling: ByteEncoding = {},
  ): Alias {
    if (length > source.size - offset) {
      throw new LinkError(
        "size-mismatch",
        `Cannot bind weight "${name}" of "${this.#path}": it ends at byte ${offset + length} of "${source.name}", which has ${source.size}`,
        { path: source.name, tensor: name, offset },
      );
    }
    const open = async (): Promise<ReturnType<typeof borrowed>> => borrowed(source);
    const owner = rangeWeights(source.name, [
      { key: name, layout, path: source.name, offset, length, ...spelling, open },
    ]);
    return {
      owner,
      key: name,
      layout: { ...layout, length: tensorBytes(layout.dtype, layout.shape) ?? length },
    };
  }

  async #scope(scope: string, tensor: string): Promise<WeightSource> {
    const known = this.#scopes.get(scope);
    if (known) return known;
    const { scopes = {}, signal } = this.#options;
    const source = Object.hasOwn(scopes, scope) ? scopes[scope] : undefined;
    if (source === undefined) {
      throw new LinkError(
        "not-found",
        `Cannot bind weight "${tensor}" of "${this.#path}": nobody said what "${scope}" is`,
        {
          path: this.#path,
          tensor,
          hint: `--scope ${scope}=WEIGHTS: a checkpoint, a URL, or a model of the store`,
        },
      );
    }
    const data = await this.open(openWeights(this.#store, source, { signal }));
    this.#scopes.set(scope, data);
    return data;
  }

  async #sourceAt(location: string, tensor: string): Promise<ByteSource> {
    const known = this.#sources.get(location);
    if (known) return known;
    const source = /^https?:/i.test(location)
      ? await this.#fetched(location, tensor)
      : await this.#folder.open(location, this.#options satisfies ReadOptions);
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
