import type { CompiledStored, CompileOptions } from "../compile/compile-stored.ts";
import { writeCompiled } from "../compile/write-compiled.ts";
import type { AnyEngine, EngineEntry, SessionOf } from "../engines/engine-entry.ts";
import type { Session } from "../engines/engine.ts";
import { LLAMA } from "../engines/llama/entry.ts";
import type { LlamaSession } from "../engines/llama/session.ts";
import type { OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import type { OrtSessionInfo } from "../engines/onnxruntime/session.ts";
import { OpenEngines } from "../engines/open-engines.ts";
import { ENGINES } from "../engines/registry.ts";
import type { LinkStoredOptions } from "../link/link-stored.ts";
import type { LinkedOnnx, LinkedProgram } from "../link/linked-program.ts";
import type { ViewOptions, ViewResult } from "../link/view.ts";
import { FileCompileCache } from "../local-store/compile-cache.ts";
import { FileFoldedCache } from "../local-store/folded-cache.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { FilePrepackedCache } from "../local-store/prepacked-cache.ts";
import type { RefitCheck } from "../operations/refit/verify-refit.ts";
import { readModel } from "../store/read-model.ts";
import { requireModel } from "../store/require-model.ts";
import { compilerFor } from "./compiler-for.ts";
import { loadCompiled, type LoadCompiledOptions } from "./load-compiled.ts";
import { loadLinked } from "./load-linked.ts";
import { type LoadHost, loadModel } from "./load-model.ts";
import { loadText, type TextLoadOptions } from "./load-text.ts";
import { MutableModel, type MutableOptions } from "./mutable-model.ts";
import { openMutableWeights } from "./open-mutable-weights.ts";
import { TextPool, type TextPoolOptions } from "./text-pool.ts";
import { verifyRefit, type VerifyRefitOptions } from "./verify-refit.ts";

/** Options of {@link openRuntime}. */
export interface RuntimeOptions {
  /**
   * Engines that may load models; {@link ENGINES} unless given. The first of several for one format is its default. An
   * entry with the id of a built-in engine takes its place.
   */
  readonly engines?: readonly EngineEntry[] | undefined;
  /** Number of threads that run sessions; the number of cores, up to 4, unless given. */
  readonly workers?: number | undefined;
}

/** Options of {@link Runtime.load}. */
export interface LoadOptions extends LinkStoredOptions, OrtLoadOptions {}

/** Opens a runtime over the models of a store. An engine starts with the first model that needs it. */
export function openRuntime(store: LocalStore, options: RuntimeOptions = {}): Runtime {
  return new Runtime(store, options);
}

/** Runs models of a store in engines. Dispose it to end all engines and sessions. */
export class Runtime implements AsyncDisposable {
  readonly store: LocalStore;
  readonly #host: LoadHost;

  /** Use {@link openRuntime}. */
  constructor(store: LocalStore, { engines = ENGINES, workers }: RuntimeOptions) {
    const caches = {
      compiled: new FileCompileCache(store),
      prepacked: new FilePrepackedCache(store),
      folded: new FileFoldedCache(store),
    };
    this.store = store;
    this.#host = { store, engines: new OpenEngines(engines, { workers, caches }) };
  }

  /**
   * Loads a method of a model, or a program that {@link bind} linked to other weights, in the first engine of this runtime
   * that runs its format: ONNX Runtime for ONNX, whose session uses the compiled program of the model's family and maps
   * the weights from their files. The session owns the lease of a linked program; a failed load releases the lease.
   * @throws StoreError `not-found`, `missing-blob`, `corrupted`; LinkError; EngineError `unsupported`, `no-engine`
   */
  async load(model: string | LinkedOnnx, options?: LoadOptions): Promise<OrtSessionInfo & Session>;
  /**
   * Loads a method of a model, or a linked program, in one engine of this runtime.
   * @throws EngineError `no-engine` for an engine that this runtime does not have, `unsupported` if the engine does not
   * run the format
   */
  async load<E extends AnyEngine>(
    model: string | LinkedProgram,
    options: LinkStoredOptions & { readonly engine: EngineEntry<E, never> },
  ): Promise<SessionOf<E>>;
  async load(
    model: string | LinkedProgram,
    { engine, ...options }: LoadOptions & { readonly engine?: EngineEntry<AnyEngine, never> } = {},
  ): Promise<unknown> {
    if (typeof model === "string") return loadModel(this.#host, engine, model, options);
    return loadLinked(this.#host.engines.getFor(model, engine), model, options);
  }

  /**
   * Loads a GGUF model to generate text, from the shards of its family. Loaded models of a family share one copy of their
   * common weights in memory.
   * @throws StoreError `not-found`, `corrupted`; LinkError for an adapter of another model; EngineError `no-engine`,
   * `unsupported`, `engine`
   */
  async loadText(name: string, options: TextLoadOptions = {}): Promise<LlamaSession> {
    const { store, engines } = this.#host;
    return (await loadText(store, await engines.get(LLAMA), name, options)).session;
  }

  /**
   * Opens a pool of GGUF models that take turns, in the process that {@link loadText} uses. A swap loads only the weights
   * that no loaded model has.
   */
  openTexts(options: TextPoolOptions = {}): TextPool {
    const { store, engines } = this.#host;
    return new TextPool(store, async () => engines.get(LLAMA), options);
  }

  /**
   * Loads a method of a model so that its weights can change while it runs.
   * @throws LinkError `not-found` for a pattern that selects no weight; EngineError `unsupported` if the engine takes
   * weights as constants only; what {@link load} throws
   */
  async openMutable(name: string, options: MutableOptions = {}): Promise<MutableModel> {
    return MutableModel.open(this.#host, name, options, async (model, method) =>
      openMutableWeights(this.#host, model, method, options),
    );
  }

  /**
   * Compiles all methods of a model ahead of time, without its weights: once for the model's family. The store caches
   * the result.
   * @throws EngineError `unsupported`, `no-engine`; FormatError `unsupported` for a graph that cannot be cut; UsageError
   */
  async compile(name: string, options: CompileOptions = {}): Promise<CompiledStored> {
    const compiler = compilerFor(this.#host, options);
    return compiler.compile(await readModel(this.store, name));
  }

  /**
   * Writes a compiled model as a folder that runs without a store ({@link openCompiled}): programs that any ONNX
   * runtime opens, links to the weights, and the record of the compilation.
   * @throws SourceError `exists`; what {@link compile} throws
   */
  async writeCompiled(
    name: string,
    path: string,
    options: CompileOptions & ViewOptions = {},
  ): Promise<ViewResult> {
    const { store } = this.#host;
    const model = await readModel(store, name);
    const compiled = await this.compile(name, options);
    await requireModel(store, model, { signal: options.signal });
    return writeCompiled(store, model, compiled, path, options);
  }

  /**
   * Loads the compiled partitions of a method as one session that maps the blobs of the store.
   * @throws what {@link compile} and {@link load} throw
   */
  async loadCompiled(name: string, options: LoadCompiledOptions = {}): Promise<Session> {
    return loadCompiled(this.#host, await readModel(this.#host.store, name), options);
  }

  /**
   * Compares the outputs of the family's cached program with those of a fresh compilation, bit for bit.
   * @throws LinkError `mismatch` naming the output; EngineError
   */
  async verifyRefit(name: string, options: VerifyRefitOptions = {}): Promise<RefitCheck[]> {
    return verifyRefit(this.#host, name, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host.engines[Symbol.asyncDispose]();
  }
}
