import type { CompiledMethod } from "./compile/backends/compiled-model.ts";
import type { CompileSettings } from "./compile/backends/compile-model.ts";
import type { WeightSource } from "./weights/weight-source.ts";
import { storedWeights } from "./weights/stored.ts";
import type { WeightRef } from "./weights/open-ref.ts";
import { openWeights, type OpenWeights, type OpenWeightsOptions } from "./weights/open-weights.ts";
import type { Proposal } from "./operations/refit/propose.ts";
import type { Session } from "./engines/engine.ts";
import type { Llama } from "./engines/llama/engine.ts";
import type { LlamaSession } from "./engines/llama/session.ts";
import type { OnnxRuntime, OrtLoadOptions } from "./engines/onnxruntime/engine.ts";
import type { OrtSessionInfo } from "./engines/onnxruntime/session.ts";
import { type ModelDiff, diffModels } from "./operations/diff/diff.ts";
import { methodOf } from "./model/plan.ts";
import { sharesOf, usersOf } from "./model/sharing.ts";
import { type Digest } from "./tensor/digest.ts";
import type { Tensors } from "./tensor/tensor.ts";
import { type StoredModel } from "./model/stored-model.ts";
import { type ExportOptions, type ExportResult, exportModel } from "./local-store/export.ts";
import { openModel } from "./node/open-model.ts";
import { type AddResult, addModel } from "./local-store/add.ts";
import { addMoving, type MoveOptions } from "./local-store/add-moving.ts";
import { isUnfinished } from "./local-store/move-journal.ts";
import { thisMachine } from "./node/machine.ts";
import { FileCompileCache } from "./local-store/compile-cache.ts";
import { FileFoldedCache } from "./local-store/folded-cache.ts";
import { FilePrepackedCache } from "./local-store/prepacked-cache.ts";
import { defaultStorePath } from "./local-store/default-path.ts";
import { collect, type GcOptions, type GcResult } from "./local-store/gc.ts";
import { type StoreStatus, storeStatus } from "./local-store/status.ts";
import { type VerifyOptions, type VerifyResult, verifyStore } from "./local-store/verify.ts";
import { type ViewOptions, type ViewResult } from "./link/view.ts";
import type { FamilyMap } from "./picture/family-map.ts";
import { compileSettings } from "./compile/backends.ts";
import {
  type CompiledStored,
  type CompileHost,
  type CompileOptions,
  compileStored,
  storedPlaces,
} from "./compile/compile-stored.ts";
import { describeModel, type ModelInfo } from "./operations/describe.ts";
import { LLAMA } from "./engines/llama/entry.ts";
import { ONNX_RUNTIME } from "./engines/onnxruntime/entry.ts";
import { OpenEngines } from "./engines/open-engines.ts";
import { ENGINES } from "./engines/registry.ts";
import { loadModel } from "./runtime/load-model.ts";
import { familyMap } from "./operations/family-map.ts";
import { bindStored, type BindOptions } from "./link/bind.ts";
import { bindFile, type BindFileOptions } from "./link/bind-file.ts";
import { BoundProgram, type LoadProgram } from "./link/bound-program.ts";
import { linkFolder } from "./link/link-folder.ts";
import { loadCompiledMethod } from "./compile/load-compiled.ts";
import {
  attachMlir,
  type AttachOptions,
  type AttachResult,
  listResources,
  type ResourceInfo,
} from "./operations/mlir/attach.ts";
import { type DetachOptions, type DetachResult, detachToStore } from "./operations/mlir/detach.ts";
import { MemoryWeights } from "./runtime/memory-weights.ts";
import { RelinkedWeights } from "./runtime/relinked-weights.ts";
import { MutableModel, type MutableOptions } from "./runtime/mutable-model.ts";
import type { NewWeightsOptions } from "./operations/refit/new-weights.ts";
import { proposeRefit } from "./operations/refit/propose-refit.ts";
import { refitModel, type RefitOptions, type RefitResult } from "./operations/refit/refit.ts";
import { splitModels, type SplitOptions, type SplitResult } from "./operations/split/split.ts";
import { type LoraInfo, lorasOf } from "./lora/lora-bases.ts";
import { mergeLoras, type MergeLora, type MergeOptions, type MergeResult } from "./operations/merge.ts";
import { TextPool, type TextPoolOptions } from "./runtime/text-pool.ts";
import { loadText, type TextLoadOptions } from "./runtime/load-text.ts";
import { compareSessions, type RefitCheck } from "./operations/refit/verify-refit.ts";
import { writeCompiled } from "./compile/write-compiled.ts";
import { LocalStore } from "./local-store/local-store.ts";
import { listModels, readModel } from "./store/read-model.ts";
import { withModel } from "./store/with-model.ts";
import { requireModel } from "./store/require-model.ts";

/** Options of {@link openStore}. */
export interface OpenStoreOptions {
  /** The store's folder; {@link defaultStorePath} unless given. */
  readonly path?: string | undefined;
  /** Threads that sessions live in; the number of cores, up to 4, unless given. */
  readonly workers?: number | undefined;
}

/** A model of a store, in a line. All sizes in bytes. */
export interface ModelSummary {
  readonly name: string;
  readonly digest: Digest;
  readonly format: string;
  readonly methods: readonly string[];
  readonly fileBytes: number;
  readonly sharedBytes: number;
  readonly ownBytes: number;
  /** What it is for, where it is a LoRA adapter. */
  readonly lora?: LoraInfo;
}

/** Options of {@link TareStore.load}. */
export interface LoadOptions extends OrtLoadOptions {
  /** May be left out where the model has one method. */
  readonly method?: string | undefined;
  /** Hash every weight before it is used, instead of trusting what was not written since it was hashed. */
  readonly verify?: boolean | undefined;
}

/**
 * Opens a store; makes one where there is nothing.
 *
 * @example
 * ```ts
 * import { openStore } from "tare";
 *
 * await using store = await openStore({ path: "models" });
 * await store.add(["fine-tune/"]);
 * await using session = await store.load("fine-tune", { method: "decoder" });
 * const outputs = await session.run({ input_ids: { dtype: "int64", shape: [1, 3], bytes } });
 * ```
 * @throws StoreError `not-a-store`; FormatError `newer-version`
 */
export async function openStore(options: OpenStoreOptions = {}): Promise<TareStore> {
  return new TareStore(await LocalStore.open(options.path ?? defaultStorePath()), options);
}

/** A store and the engines over it. Dispose it to end its sessions. */
export class TareStore implements AsyncDisposable {
  readonly #files: LocalStore;
  readonly #engines: OpenEngines;

  /**
   * Use {@link openStore}.
   * @param cached whether compiled programs are kept, and taken from what was kept
   */
  constructor(files: LocalStore, options: OpenStoreOptions, cached = true) {
    this.#files = files;
    const caches = {
      compiled: new FileCompileCache(files),
      prepacked: new FilePrepackedCache(files),
      folded: new FileFoldedCache(files),
    };
    this.#engines = new OpenEngines(ENGINES, { workers: options.workers, ...(cached && { caches }) });
  }

  /** Loads what a bound program was placed as. */
  readonly #loadProgram: LoadProgram = async (program, options) =>
    (await this.#openEngine()).load(program, options);

  /** The store's folder. */
  get path(): string {
    return this.#files.name;
  }

  /**
   * Adds one model: a folder (each program in it a method), or programs of one folder. Idempotent.
   * @throws FormatError, SourceError, StoreError; the store is then as it was
   */
  async add(
    paths: readonly string[],
    options: MoveOptions & {
      /**
       * Free the files while they are added, so that hardly more than the model is on the disk, and remove them at the end.
       * Ended early, the same add goes on.
       */
      readonly move?: boolean | undefined;
    } = {},
  ): Promise<AddResult> {
    if (options.move || (await isUnfinished(this.#files, paths)))
      return addMoving(this.#files, paths, options);
    await using model = await openModel(paths, { signal: options.signal });
    return await addModel(this.#files, options.as ?? model.name, model.draft, options);
  }

  /** Whether a model has this name. */
  async has(name: string): Promise<boolean> {
    return (await this.#files.names.resolve(name)) !== undefined;
  }

  /** The models, by name. */
  async list(): Promise<ModelSummary[]> {
    const models = await listModels(this.#files);
    const users = usersOf(models);
    const loras = await lorasOf(this.#files, models);
    return models.map((model) => ({
      name: model.name,
      digest: model.digest,
      format: model.config.format,
      methods: model.config.methods.map((method) => method.name),
      fileBytes: model.config.files.reduce((sum, file) => sum + file.size, 0),
      ...sharesOf(model, users),
      ...loraOf(loras, model.name),
    }));
  }

  /** A model's methods and weights, and what it shares with whom. */
  async show(name: string): Promise<ModelInfo> {
    return describeModel(this.#files, name);
  }

  /** What differs between two models, and by how much. */
  async diff(a: string, b: string, options: { readonly signal?: AbortSignal } = {}): Promise<ModelDiff> {
    return withModel(this.#files, a, (left) =>
      withModel(this.#files, b, (right) => diffModels(this.#files, left, right, options)),
    );
  }

  /** The picture's data: which model has which weights; all models unless named. */
  async map(names?: readonly string[]): Promise<FamilyMap> {
    return familyMap(this.#files, names);
  }

  /**
   * Merges LoRA adapters of the store into a model, as a new model: it shares whatever they do not touch, and runs at
   * full speed.
   * @throws LinkError where a LoRA does not fit, naming what; UsageError; StoreError `name-taken`, `bad-name`
   */
  async merge(base: string, loras: readonly MergeLora[], options: MergeOptions): Promise<MergeResult> {
    return mergeLoras(this.#files, base, loras, options);
  }

  /** Writes a model's original files, byte for byte. */
  async export(name: string, path: string, options: ExportOptions = {}): Promise<ExportResult> {
    return withModel(this.#files, name, (model) => exportModel(this.#files, model, path, options));
  }

  /**
   * Makes a folder that stock engines open: programs (for llama.cpp, shards), and links to the weights.
   * @throws SourceError `exists`; LinkError `unsupported` for a format whose files cannot be links
   */
  async link(name: string, path: string, options: ViewOptions = {}): Promise<ViewResult> {
    return linkFolder(this.#files, name, path, options);
  }

  /**
   * Joins a model's ONNX program with weights, its own or others, wherever they are: a checkpoint in any format, a URL,
   * another model, memory. What comes of it is written with its weights inside, beside it or by reference, or loaded.
   * @throws LinkError listing every weight that does not fit; EngineError `unsupported` for a model that is no ONNX
   */
  async bind(name: string, options: BindOptions = {}): Promise<BoundProgram> {
    return new BoundProgram(await bindStored(this.#files, name, options), this.#files, this.#loadProgram);
  }

  /**
   * The same for an ONNX file, whose weights are where it says: inside, in files beside it, `scope::key`, URLs.
   * @throws LinkError `not-found` for a scope that is not given, `mismatch`, `unsupported` for a URL unless `remote`
   */
  async bindFile(path: string, options: BindFileOptions = {}): Promise<BoundProgram> {
    return new BoundProgram(await bindFile(this.#files, path, options), this.#files, this.#loadProgram);
  }

  /**
   * Writes models as files for places without tare: one foundation, an adapter for each; stock engines open them.
   * @param path the folder to make; left out, everything is planned and nothing written
   * @throws LinkError `mismatch`, `not-found`, `missing-weight` for models and rules that do not fit; SourceError
   * `exists`
   */
  async split(
    names: readonly string[],
    path: string | undefined,
    options: SplitOptions = {},
  ): Promise<SplitResult> {
    return splitModels(this.#files, names, path, options);
  }

  /**
   * Binds a model's programs to other weights, as a new model: nothing is compiled, and only weights that the store has
   * not are written. Strict: none missing, none left over, each of the dtype and shape that it was.
   * @param weights a model of the store, a file or folder in any format, a URL, or an object: a source, or tensors by name
   * @throws LinkError listing every weight that does not fit; SourceError, FormatError, StoreError `name-taken`
   */
  async refit(base: string, weights: WeightRef, options: RefitOptions): Promise<RefitResult> {
    return refitModel(this.#files, base, weights, options);
  }

  /** Proposes a mapping of names for {@link refit}, by dtype, shape, values and name. */
  async proposeRefit(base: string, weights: WeightRef, options: NewWeightsOptions = {}): Promise<Proposal[]> {
    return proposeRefit(this.#files, base, weights, options);
  }

  /**
   * Compares a model that runs over its family's compiled program with one that is compiled now, bit for bit.
   * @param inputs by method; made up where none are given
   * @throws LinkError `mismatch` naming the output; EngineError
   */
  async verifyRefit(
    name: string,
    options: { readonly inputs?: Readonly<Record<string, Tensors>>; readonly signal?: AbortSignal } = {},
  ): Promise<RefitCheck[]> {
    const { inputs = {}, signal } = options;
    const model = await readModel(this.#files, name);
    await using fresh = new TareStore(this.#files, { workers: 1 }, false);
    const checks: RefitCheck[] = [];
    for (const { name: method } of model.config.methods) {
      await using ours = await this.load(name, { method, signal });
      await using theirs = await fresh.load(name, { method, signal });
      checks.push(await compareSessions(method, ours, theirs, inputs[method]));
    }
    return checks;
  }

  /**
   * Puts the weights of an MLIR file (bytecode or text) into the store, and writes its program without them: compilers
   * work on that, and {@link attach} gives the weights back to whatever they made of it.
   * @throws FormatError, SourceError `exists`, StoreError `name-taken`; LinkError `missing-weight` for a file without any
   */
  async detach(path: string, out: string, options: DetachOptions = {}): Promise<DetachResult> {
    return detachToStore(this.#files, path, out, options);
  }

  /**
   * Writes a thin MLIR file with its weights, from where it says they are or from a model or file that has them by name.
   * @throws LinkError `missing-weight`, `mismatch`; StoreError `corrupted`; SourceError `exists`, `source-changed`
   */
  async attach(thin: string, out: string, options: AttachOptions = {}): Promise<AttachResult> {
    return attachMlir(thin, out, async () => this.#files, options);
  }

  /** The resources of an MLIR file, and where the bytes of each are. */
  async resources(
    path: string,
    options: Pick<AttachOptions, "from" | "signal"> & { readonly verify?: boolean } = {},
  ): Promise<ResourceInfo[]> {
    return listResources(path, async () => this.#files, options);
  }

  /** Takes models out of the store; {@link gc} then frees what nothing else uses. */
  async remove(names: readonly string[]): Promise<void> {
    return this.#files.names.untag(names);
  }

  /** Removes blobs and compiled programs that no model uses. */
  async gc(options: GcOptions = {}): Promise<GcResult> {
    return collect(this.#files, options);
  }

  /** Checks every model and blob. */
  async verify(options: VerifyOptions = {}): Promise<VerifyResult> {
    return verifyStore(this.#files, options);
  }

  /** Disk use, and what separate files would take. */
  async status(): Promise<StoreStatus> {
    return storeStatus(this.#files);
  }

  /**
   * Loads a method of a model: its family's compiled program over the store's own blobs, mapped, never copied.
   * @throws StoreError `not-found`, `corrupted`; LinkError; EngineError `no-engine`
   */
  async load(name: string, options: LoadOptions = {}): Promise<OrtSessionInfo & Session> {
    return loadModel({ store: this.#files, engines: this.#engines }, ONNX_RUNTIME, name, options);
  }

  /**
   * Compiles a model ahead of time, all methods at once, without its weights: once for its family. The result is kept
   * in the store's cache.
   * @throws EngineError `unsupported`, `no-engine`; FormatError `unsupported` for what cannot be cut; UsageError
   */
  async compile(name: string, options: CompileOptions = {}): Promise<CompiledStored> {
    const settings = this.#compileSettings(options);
    return compileStored(this.#compileHost(), await readModel(this.#files, name), settings, options.signal);
  }

  /**
   * Writes a compiled model as a folder that runs without a store ({@link openCompiled}): programs that any ONNX
   * runtime opens, over links of the weights, and what they were compiled with.
   * @throws SourceError `exists`; what {@link compile} throws
   */
  async writeCompiled(
    name: string,
    path: string,
    options: CompileOptions & ViewOptions = {},
  ): Promise<ViewResult> {
    const model = await readModel(this.#files, name);
    const compiled = await this.compile(name, options);
    await requireModel(this.#files, model, { signal: options.signal });
    return writeCompiled(this.#files, model, compiled, path, options);
  }

  /**
   * Loads a method of a model as it was compiled: its partitions, over the store's own blobs, as one session.
   * @throws what {@link compile} and {@link load} throw
   */
  async loadCompiled(
    name: string,
    options: CompileOptions & Omit<LoadOptions, "level"> = {},
  ): Promise<Session> {
    return this.#loadCompiled(await readModel(this.#files, name), options);
  }

  async #loadCompiled(
    model: StoredModel,
    options: CompileOptions & Omit<LoadOptions, "level">,
  ): Promise<Session> {
    const settings = this.#compileSettings(options);
    const { name: method } = methodOf(model, options.method);
    const host = this.#compileHost();
    const compiled = await compileStored(host, model, settings, options.signal);
    await requireModel(this.#files, model, { full: options.verify, signal: options.signal });
    const places = storedPlaces(this.#files, model, compiled);
    const found = compiled.model.methods.find((each) => each.name === method) as CompiledMethod;
    return loadCompiledMethod(found, places, await this.#openEngine(), settings.backends, options);
  }

  /**
   * Loads a method of a model whose weights may change while it runs.
   * @throws LinkError `not-found` for a pattern that selects no weight; EngineError `unsupported` where the engine takes
   * weights as constants only; what {@link load} throws
   */
  async openMutable(name: string, options: MutableOptions = {}): Promise<MutableModel> {
    const engine = await this.#openEngine();
    const { compiled } = options;
    return MutableModel.open(this.#files, name, options, async (model, method) => {
      if (!compiled) return MemoryWeights.open({ files: this.#files, engine, options }, model, method);
      return RelinkedWeights.open(this.#files, model, method, (changed) =>
        this.#loadCompiled(changed, { ...compiled, ...options, method: method.name }),
      );
    });
  }

  /**
   * Loads a GGUF model to generate text, over the shards of its family: several models loaded share what they share.
   * @throws StoreError `not-found`, `corrupted`; LinkError where an adapter is for another model; EngineError
   * `no-engine`, `unsupported`, `engine`
   */
  async loadText(name: string, options: TextLoadOptions = {}): Promise<LlamaSession> {
    return (await loadText(this.#files, await this.#openLlama(), name, options)).session;
  }

  /**
   * Opens a pool of GGUF models that take turns, in the process that {@link loadText} uses: swapping to one loads what
   * it does not share with those that are loaded.
   */
  openTexts(options: TextPoolOptions = {}): TextPool {
    return new TextPool(this.#files, () => this.#openLlama(), options);
  }

  /**
   * The weights of a model, by name, for compiled programs: read, streamed, or mapped where they lie.
   * @throws StoreError `not-found`, `missing-blob`, `corrupted`; LinkError `not-found` for a method
   */
  async weights(
    name: string,
    options: Pick<LoadOptions, "method" | "verify" | "signal"> = {},
  ): Promise<WeightSource> {
    const model = await readModel(this.#files, name);
    await requireModel(this.#files, model, { full: options.verify, signal: options.signal });
    return storedWeights(this.#files, model, { method: options.method });
  }

  /**
   * Opens weights by name, wherever they are: a model of this store, files, a URL, `scope::key`, an object.
   * @throws LinkError `not-found` for a reference that leads to nothing; FormatError, SourceError, StoreError
   */
  async openWeights(ref: WeightRef, options: Omit<OpenWeightsOptions, "store"> = {}): Promise<OpenWeights> {
    return openWeights(ref, { ...options, store: this.#files });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engines[Symbol.asyncDispose]();
  }

  #compileHost(): CompileHost {
    return { store: this.#files, engine: () => this.#openEngine(), machine: thisMachine() };
  }

  #compileSettings(options: CompileOptions): CompileSettings {
    return compileSettings(options, () => this.#openEngine(), thisMachine());
  }

  #openLlama(): Promise<Llama> {
    return this.#engines.get(LLAMA);
  }

  #openEngine(): Promise<OnnxRuntime> {
    return this.#engines.get(ONNX_RUNTIME);
  }
}

function loraOf(loras: ReadonlyMap<string, LoraInfo>, name: string): Pick<ModelSummary, "lora"> {
  const lora = loras.get(name);
  return lora ? { lora } : {};
}
