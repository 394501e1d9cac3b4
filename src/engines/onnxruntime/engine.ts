import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { EngineError } from "../../errors.ts";
import type { LinkPlan } from "../../model/link-plan.ts";
import type {
  CompileCache,
  FoldedCache,
  Engine,
  EngineCapabilities,
  PrepackedCache,
  Port,
  Signature,
} from "../engine.ts";
import { type Artifact, decodeArtifact, encodeArtifact } from "./artifact.ts";
import {
  bindProgram,
  compileKey,
  compileProgram,
  type CompileTarget,
  type OrtProgram,
  type OrtSource,
  programKey,
} from "./compile.ts";
import { ConstantFolder } from "./constant-folder.ts";
import { Prepacker } from "./prepacker.ts";
import type { PrepackingMode } from "./prepacking.ts";
import type { CreateSettings } from "./protocol.ts";
import { type OrtSessionInfo, ThreadSession } from "./session.ts";
import { EngineThread } from "./thread.ts";
import { abortable } from "../../io/abortable.ts";

/** Options of {@link openOnnxRuntime}. */
export interface OnnxRuntimeOptions {
  /** Threads that sessions live in, each running one at a time; the number of cores, up to 4, unless given. */
  readonly workers?: number | undefined;
  readonly cache?: CompileCache | undefined;
  /** Where packed weights are shared; each session has its own unless given. */
  readonly prepacked?: PrepackedCache | undefined;
  /** Where derived weights are shared; each call derives them unless given. */
  readonly folded?: FoldedCache | undefined;
}

/** How a session is made. */
export interface OrtLoadOptions {
  /** `auto` prepacks where a kernel needs it; `on` ("throughput") everywhere, at the price of private memory. */
  readonly prepacking?: PrepackingMode | undefined;
  /** Threads for one operator; one a core unless given. */
  readonly threads?: number | undefined;
  /** Lets idle threads spin: worth it for a process with one session only. */
  readonly spinning?: boolean | undefined;
  /** How far the engine optimizes a program; "extended" unless given. */
  readonly level?: CreateSettings["level"] | undefined;
  /** Hash packed weights before they are used, instead of trusting what was not written since they were hashed. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A program to compile. */
export interface OrtCompileSource {
  /** Says all that the program depends on. */
  readonly key: string;
  /** Reads and parses the program: only where it was not compiled before. */
  open(): Promise<OrtProgram>;
}

/** How a program is compiled. */
export interface OrtCompileOptions {
  readonly level?: CreateSettings["level"] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What came of a compilation. */
export interface OrtCompiled {
  readonly artifact: Artifact;
  /** Whether the program had been compiled before. */
  readonly cached: boolean;
}

/** A program bound to its weights: what the engine opens. */
export interface OrtBound {
  readonly model: Uint8Array;
  readonly signature: Signature;
  /** What is left to optimize: nothing in a compiled program. */
  readonly level: CreateSettings["level"];
  /** The operator that makes prepacking necessary. */
  readonly prepackingOperator: string | undefined;
  /** Names of the weights that it takes packed from files. */
  readonly prepackedWeights: readonly string[];
  /** Names of the weights that it takes what is derived from, instead of them. */
  readonly foldedWeights: readonly string[];
  readonly weightlessBlocker: string | undefined;
  readonly cached: boolean;
}

/** A session, some of whose weights are fed. */
export interface LiveSession {
  readonly session: ThreadSession;
  /** Inputs of the compiled program, by the names of the weights. */
  readonly inputs: ReadonlyMap<string, string>;
}

const NONE: ReadonlySet<string> = new Set();
/** All that does not change numbers or layouts by machine. */
export const LEVEL = "extended";

const CAPABILITIES: EngineCapabilities = {
  formats: ["onnx"],
  sharesWeights: true,
  compilesWeightless: true,
  abortsRunning: false,
};

/** ONNX Runtime behind the engine seam: stock `onnxruntime-node`, in worker threads. */
export class OnnxRuntime implements Engine {
  readonly id = "onnxruntime";
  readonly version: string;
  readonly capabilities: EngineCapabilities = CAPABILITIES;
  readonly #threads: readonly EngineThread[];
  readonly #cache: CompileCache | undefined;
  readonly #prepacker: Prepacker | undefined;
  readonly #folder: ConstantFolder | undefined;
  readonly #compiling = new Map<string, Promise<Artifact>>();

  /** Use {@link openOnnxRuntime}. */
  constructor(version: string, options: OnnxRuntimeOptions) {
    this.version = version;
    this.#cache = options.cache;
    this.#prepacker = options.prepacked && new Prepacker(version, options.prepacked, options.cache);
    this.#folder = options.folded && new ConstantFolder(version, options.folded);
    const count = options.workers ?? Math.min(4, availableParallelism());
    this.#threads = Array.from({ length: count }, () => new EngineThread());
  }

  /**
   * Loads a program over the files of `folder`, which the engine maps itself: nothing is copied. The program is
   * compiled once for its family.
   * @throws EngineError, LinkError
   */
  async load(source: OrtSource, folder: string, options: OrtLoadOptions = {}): Promise<OrtSessionInfo> {
    return (await this.loadLive(source, folder, NONE, options)).session;
  }

  /**
   * Loads a program some of whose weights stay in memory: they are inputs, held in the session's thread and fed with
   * each run.
   * @param live names of those weights
   * @param previous a session whose held weights the new one takes over
   * @throws EngineError `unsupported` where the engine needs weights as constants
   */
  async loadLive(
    source: OrtSource,
    folder: string,
    live: ReadonlySet<string>,
    options: OrtLoadOptions = {},
    previous?: ThreadSession,
  ): Promise<LiveSession> {
    const { level = LEVEL } = options;
    const { plan } = source;
    const { artifact, cached } = await this.compile(
      { key: programKey(plan), open: () => source.open() },
      options,
    );
    const { signature, prepackingOperator, weightlessBlocker } = artifact;
    if (live.size > 0) requireLive(artifact, plan);
    // Float models, packed for throughput only, would pay with a second copy of each weight on disk.
    const share =
      prepackingOperator !== undefined && prepacks(artifact, options) ? this.#prepacker : undefined;
    const files = await share?.pack(artifact, plan, folder, this.#idlest(), options);
    // A weight that changes takes what is derived from it along.
    const folding = live.size === 0 && artifact.folded ? this.#folder : undefined;
    const values = await folding?.fold(artifact, plan, folder, this.#idlest(), options);
    const model = await bindProgram(artifact, source, { prepacked: files, live, folded: values });
    const dropped = new Set(values && artifact.folded?.dropped);
    const foldedWeights = artifact.weights.filter(({ input }) => dropped.has(input)).map(({ name }) => name);
    const prepackedWeights = artifact.weights
      .filter(({ input }) => files?.has(input))
      .map(({ name }) => name);
    const bound = artifact.template ? "disabled" : level;
    const info = {
      model,
      signature,
      level: bound,
      prepackingOperator,
      prepackedWeights,
      foldedWeights,
      weightlessBlocker,
      cached,
    } as const;
    const session = await this.open(info, folder, options, previous);
    return { session, inputs: new Map(artifact.weights.map(({ name, input }) => [name, input])) };
  }

  /**
   * Compiles a program without its weights, or takes what was compiled before from the cache; all who ask for one at
   * once wait for one compilation.
   * @throws EngineError
   */
  async compile(source: OrtCompileSource, options: OrtCompileOptions = {}): Promise<OrtCompiled> {
    const { level = LEVEL, signal } = options;
    signal?.throwIfAborted();
    return abortable(this.#compile(source, { version: this.version, level }), signal);
  }

  /**
   * Opens a program that is bound to files of `folder`.
   * @param previous a session in whose thread to open it, and whose held weights it takes over
   * @throws EngineError
   */
  async open(
    bound: OrtBound,
    folder: string,
    options: OrtLoadOptions = {},
    previous?: ThreadSession,
  ): Promise<ThreadSession> {
    const { threads = 0, spinning = false, signal } = options;
    const { model, level, signature, prepackedWeights, foldedWeights, weightlessBlocker, cached } = bound;
    const prepack = prepacks(bound, options);
    const { thread, id: held } = previous?.place ?? { thread: this.#idlest(), id: undefined };
    thread.sessions++;
    try {
      signal?.throwIfAborted();
      const settings = { level, prepack, threads, spinning, folder };
      const loading = thread.ask({ op: "load", model, settings, held });
      const id = await abortable(loading, signal, (late) => thread.ask({ op: "release", session: late }));
      const info = {
        signature,
        prepacked: prepack,
        prepackedWeights,
        foldedWeights,
        weightlessBlocker,
        cached,
      };
      return new ThreadSession(thread, id, info);
    } catch (error) {
      thread.sessions--;
      throw error;
    }
  }

  /**
   * Says what a model's outputs are, as the engine infers them.
   * @param model bound to files of `folder`
   * @throws EngineError
   */
  async outputsOf(model: Uint8Array, folder: string, signal?: AbortSignal): Promise<readonly Port[]> {
    signal?.throwIfAborted();
    const settings = { level: "disabled", prepack: false, threads: 1, spinning: false, folder } as const;
    return abortable(this.#idlest().ask({ op: "outputs", model, settings }), signal);
  }

  #idlest(): EngineThread {
    return this.#threads.reduce((least, each) => (each.sessions < least.sessions ? each : least));
  }

  async #compile(source: OrtCompileSource, target: CompileTarget): Promise<OrtCompiled> {
    const key = compileKey(source.key, target);
    const underway = this.#compiling.get(key);
    if (underway) return { artifact: await underway, cached: true };
    let cached = true;
    const compiling = this.#cached(key).then(async (known) => {
      if (known) return known;
      cached = false;
      const artifact = await compileProgram(await source.open(), target, this.#idlest());
      await this.#cache?.put(key, encodeArtifact(artifact));
      return artifact;
    });
    this.#compiling.set(key, compiling);
    try {
      return { artifact: await compiling, cached };
    } finally {
      this.#compiling.delete(key);
    }
  }

  async #cached(key: string): Promise<Artifact | undefined> {
    const known = await this.#cache?.get(key);
    return known && decodeArtifact(known);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.end()));
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
    hint: "npm install onnxruntime-node",
  });
}

/** What was made of a program when it was compiled; `undefined` where that was not done yet. */
export async function compiledBefore(plan: LinkPlan, cache: CompileCache): Promise<Artifact | undefined> {
  const version = installedVersion();
  const known =
    version === undefined
      ? undefined
      : await cache.get(compileKey(programKey(plan), { version, level: LEVEL }));
  return known && decodeArtifact(known);
}

/** The engine's version; `undefined` where it is not installed. */
export function installedVersion(): string | undefined {
  try {
    return (createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string }).version;
  } catch {
    return undefined;
  }
}

/**
 * Where weights can be inputs.
 * @throws EngineError `unsupported`
 */
function requireLive(
  { template, prepackingOperator, weightlessBlocker }: Artifact,
  { model }: LinkPlan,
): void {
  const reason = template
    ? prepackingOperator && `${prepackingOperator} takes constants only`
    : weightlessBlocker;
  if (!reason) return;
  throw new EngineError("unsupported", `Cannot keep weights of "${model}" in memory: ${reason}`, {
    hint: "tare refit makes a model of the store of them",
  });
}

/** Whether a session prepacks: where a kernel needs it, unless its user says otherwise. */
function prepacks(
  program: Pick<OrtBound, "prepackingOperator">,
  { prepacking = "auto" }: OrtLoadOptions,
): boolean {
  return prepacking === "auto" ? program.prepackingOperator !== undefined : prepacking === "on";
}
