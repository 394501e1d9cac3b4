import { availableParallelism } from "node:os";
import { EngineError } from "../../errors.ts";
import { abortable } from "../../io/abortable.ts";
import type { LinkedOnnx } from "../../link/linked-program.ts";
import type { Engine, EngineCapabilities, EngineLoadOptions, Port } from "../engine.ts";
import type { EngineCaches } from "../engine-caches.ts";
import type { Artifact } from "./artifact.ts";
import { bindCompiled } from "./bind-compiled.ts";
import { type BoundModel, bindProgram } from "./bind-program.ts";
import { Compiler, type OrtCompiled, type OrtCompileOptions, type OrtCompileSource } from "./compiler.ts";
import { ConstantFolder } from "./constant-folder.ts";
import { installedVersion } from "./installed-version.ts";
import { Prepacker } from "./prepacker.ts";
import type { PrepackingMode } from "./prepacking.ts";
import { DEFAULT_LEVEL, programKey } from "./program-key.ts";
import type { OptimizationLevel } from "./protocol.ts";
import { ThreadSession } from "./session.ts";
import { EngineThread } from "./thread.ts";

/** Options of {@link openOnnxRuntime}. */
export interface OnnxRuntimeOptions {
  /** Number of threads that run sessions, each one call at a time; the number of cores, up to 4, unless given. */
  readonly workers?: number | undefined;
  /** Caches of compiled programs, prepacked weights and folded constants, for later loads and other processes. */
  readonly caches?: Partial<EngineCaches> | undefined;
}

/** Options of a load. */
export interface OrtLoadOptions extends EngineLoadOptions {
  /** `auto` prepacks if a kernel needs it; `on` ("throughput") prepacks all weights, which takes private memory. */
  readonly prepacking?: PrepackingMode | undefined;
  /** Number of threads of one operator; one for each core unless given. */
  readonly threads?: number | undefined;
  /** Let idle threads spin, which is faster for a process with one session only. */
  readonly spinning?: boolean | undefined;
  /** Optimization level; "extended" unless given. */
  readonly level?: OptimizationLevel | undefined;
  /** Hash prepacked and folded weights before they are used, even if they did not change since they were hashed. */
  readonly verify?: boolean | undefined;
}

/** The part of a linked program that ONNX Runtime reads. */
export type OrtProgram = Pick<
  LinkedOnnx,
  "name" | "folder" | "plan" | "inMemory" | "compiled" | "lease" | "open"
>;

const CAPABILITIES: EngineCapabilities = {
  formats: ["onnx"],
  sharesWeights: true,
  compilesWeightless: true,
  abortsRunning: false,
};

/** The ONNX Runtime engine: unmodified `onnxruntime-node`, in worker threads. */
export class OnnxRuntime implements Engine<OrtProgram, OrtLoadOptions, ThreadSession> {
  readonly id = "onnxruntime";
  readonly version: string;
  readonly capabilities: EngineCapabilities = CAPABILITIES;
  readonly #threads: readonly EngineThread[];
  readonly #compiler: Compiler;
  readonly #prepacker: Prepacker | undefined;
  readonly #folder: ConstantFolder | undefined;

  /** Use {@link openOnnxRuntime}. */
  constructor(version: string, options: OnnxRuntimeOptions) {
    const { compiled, prepacked, folded } = options.caches ?? {};
    this.version = version;
    this.#compiler = new Compiler(version, compiled);
    this.#prepacker = prepacked && new Prepacker(version, prepacked, compiled);
    this.#folder = folded && new ConstantFolder(version, folded);
    const count = options.workers ?? Math.min(4, availableParallelism());
    this.#threads = Array.from({ length: count }, () => new EngineThread());
  }

  /**
   * Loads a program. The engine maps the files of its weights without copying them. Compiles the program once for its
   * family, unless it was compiled ahead of time.
   * @param previous session whose thread loads the program, and whose weights in memory the new session takes over
   * @throws EngineError, LinkError; EngineError `unsupported` if the program needs constants for weights in memory
   */
  async load(
    program: OrtProgram,
    options: OrtLoadOptions = {},
    previous?: ThreadSession,
  ): Promise<ThreadSession> {
    const bound = program.compiled
      ? await bindCompiled(program, program.compiled)
      : await this.#bind(program, options);
    return this.#open(bound, program, options, previous);
  }

  /**
   * Compiles a program without its weights, or reads its compilation from the cache.
   * @throws EngineError
   */
  async compile(source: OrtCompileSource, options: OrtCompileOptions = {}): Promise<OrtCompiled> {
    return this.#compiler.compile(source, () => this.#idlest(), options);
  }

  /**
   * Infers the types of a model's outputs.
   * @param model program that is bound to files of `folder`
   * @throws EngineError
   */
  async outputsOf(model: Uint8Array, folder: string, signal?: AbortSignal): Promise<readonly Port[]> {
    signal?.throwIfAborted();
    const settings = { level: "disabled", prepack: false, threads: 1, spinning: false, folder } as const;
    return abortable(this.#idlest().ask({ op: "outputs", model, settings }), signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }

  async #bind(program: OrtProgram, options: OrtLoadOptions): Promise<BoundModel> {
    const { plan } = program;
    const mutable = (program.inMemory?.size ?? 0) > 0;
    const compiled = await this.compile({ key: programKey(plan), open: () => program.open() }, options);
    const { artifact } = compiled;
    if (mutable) requireMutable(artifact, plan.model);
    // Float models need prepacking for throughput only, and files would take a second copy of each weight on disk.
    const shares = artifact.prepackingOperator !== undefined && prepacks(artifact, options);
    const prepacked = shares
      ? await this.#prepacker?.prepack(artifact, program, this.#idlest(), options)
      : undefined;
    // A constant that is folded from a mutable weight would keep the old value.
    const folds = artifact.folded !== undefined && !mutable;
    const folded = folds ? await this.#folder?.fold(artifact, program, this.#idlest(), options) : undefined;
    return bindProgram(compiled, program, { prepacked, folded }, options.level ?? DEFAULT_LEVEL);
  }

  async #open(
    bound: BoundModel,
    { name, folder, lease }: OrtProgram,
    options: OrtLoadOptions,
    previous: ThreadSession | undefined,
  ): Promise<ThreadSession> {
    const { threads = 0, spinning = false, signal } = options;
    const { model, level } = bound;
    const prepack = prepacks(bound, options);
    const { thread, id: held } = previous?.place ?? { thread: this.#idlest(), id: undefined };
    thread.sessions++;
    try {
      signal?.throwIfAborted();
      const settings = { level, prepack, threads, spinning, folder };
      const loading = thread.ask({ op: "load", model, settings, held });
      const id = await abortable(loading, signal, (late) => thread.ask({ op: "release", session: late }));
      return new ThreadSession({ thread, id }, { ...bound, name, prepacked: prepack }, lease);
    } catch (error) {
      thread.sessions--;
      throw error;
    }
  }

  #idlest(): EngineThread {
    return this.#threads.reduce((least, each) => (each.sessions < least.sessions ? each : least));
  }
}

/**
 * Opens ONNX Runtime.
 * @throws EngineError `no-engine` if `onnxruntime-node` is not installed
 */
export function openOnnxRuntime(options: OnnxRuntimeOptions = {}): OnnxRuntime {
  const version = installedVersion();
  if (version !== undefined) return new OnnxRuntime(version, options);
  throw new EngineError("no-engine", "Cannot load ONNX Runtime: onnxruntime-node is not installed", {
    hint: "Install it: npm install onnxruntime-node",
  });
}

/**
 * Checks that the weights of a program can be inputs.
 * @throws EngineError `unsupported`
 */
function requireMutable({ template, prepackingOperator, weightlessBlocker }: Artifact, model: string): void {
  const reason = template
    ? prepackingOperator && `${prepackingOperator} takes constants only`
    : weightlessBlocker;
  if (!reason) return;
  throw new EngineError("unsupported", `Cannot keep weights of "${model}" in memory: ${reason}`, {
    hint: "Make a model with the new weights with tare refit",
  });
}

/** Whether a session prepacks: if a kernel needs it, unless the option says otherwise. */
function prepacks(
  program: Pick<Artifact, "prepackingOperator">,
  { prepacking = "auto" }: OrtLoadOptions,
): boolean {
  return prepacking === "auto" ? program.prepackingOperator !== undefined : prepacking === "on";
}
