import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { EngineError } from "../../errors.ts";
import type { LinkPlan } from "../../model/link-plan.ts";
import type { Tensors } from "../../model/tensor.ts";
import type {
  CompileCache,
  Engine,
  EngineCapabilities,
  PackedCache,
  RunOptions,
  Session,
  Signature,
} from "../engine.ts";
import { type Artifact, decodeArtifact, encodeArtifact } from "./artifact.ts";
import { bindProgram, compileKey, compileProgram, type CompileTarget, type OrtSource } from "./compile.ts";
import { Packer } from "./packer.ts";
import type { Prepacking } from "./prepacking.ts";
import { EngineThread } from "./thread.ts";

/** Options of {@link openOnnxRuntime}. */
export interface OnnxRuntimeOptions {
  /** Threads that sessions live in, each running one at a time; the number of cores, up to 4, unless given. */
  readonly workers?: number | undefined;
  readonly cache?: CompileCache | undefined;
  /** Where packed weights are shared; each session has its own unless given. */
  readonly packed?: PackedCache | undefined;
}

/** How a session is made. */
export interface OrtLoadOptions {
  /** `auto` prepacks where a kernel needs it; `on` ("throughput") everywhere, at the price of private memory. */
  readonly prepacking?: Prepacking | undefined;
  /** Threads for one operator; one a core unless given. */
  readonly threads?: number | undefined;
  /** Lets idle threads spin: worth it for a process with one session only. */
  readonly spinning?: boolean | undefined;
  /** How far the engine optimizes a program; "extended" unless given. */
  readonly level?: "disabled" | "basic" | "extended" | "all" | undefined;
  /** Hash packed weights before they are used, instead of trusting what was not written since they were hashed. */
  readonly verify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A session, and what the engine made of its program. */
export interface OrtSessionInfo extends Session {
  /** Whether the engine keeps packed copies of weights. */
  readonly prepacked: boolean;
  /** Names of the weights whose packed copies it maps, and shares with every session of whatever process. */
  readonly packed: readonly string[];
  /** Why the engine optimizes with the weights at each load; `undefined` where the family's program serves. */
  readonly whole: string | undefined;
  /** Whether the program had been compiled before. */
  readonly cached: boolean;
}

/** All that does not change numbers or layouts by machine. */
const LEVEL = "extended";

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
  readonly #packer: Packer | undefined;
  readonly #compiling = new Map<string, Promise<Artifact>>();

  /** Use {@link openOnnxRuntime}. */
  constructor(version: string, options: OnnxRuntimeOptions) {
    this.version = version;
    this.#cache = options.cache;
    this.#packer = options.packed && new Packer(version, options.packed, options.cache);
    const count = options.workers ?? Math.min(4, availableParallelism());
    this.#threads = Array.from({ length: count }, () => new EngineThread());
  }

  /**
   * Loads a program over the files of `folder`, which the engine maps itself: nothing is copied. The program is
   * compiled once for its family.
   * @throws EngineError, LinkError
   */
  async load(source: OrtSource, folder: string, options: OrtLoadOptions = {}): Promise<OrtSessionInfo> {
    const { prepacking = "auto", threads = 0, spinning = false, level = LEVEL, signal } = options;
    const thread = this.#threads.reduce((least, each) => (each.sessions < least.sessions ? each : least));
    thread.sessions++;
    try {
      signal?.throwIfAborted();
      const target = { version: this.version, level };
      const { artifact, cached } = await this.#compile(source, target, thread);
      const { signature, whole } = artifact;
      const needed = artifact.prepacking !== undefined;
      const prepacked = prepacking === "auto" ? needed : prepacking === "on";
      // Float models, packed for throughput only, would pay with a second copy of each weight on disk.
      const share = prepacked && needed ? this.#packer : undefined;
      const packed = await share?.pack(artifact, source.plan, folder, thread, options);
      const model = await bindProgram(artifact, source, packed);
      const bound = artifact.template ? "disabled" : level;
      const settings = { level: bound, prepack: prepacked, threads, spinning, folder } as const;
      const loading = thread.ask({ op: "load", model, settings });
      const id = await unlessAborted(loading, signal, (late) => thread.ask({ op: "release", session: late }));
      const shared = artifact.weights.filter(({ input }) => packed?.has(input)).map(({ name }) => name);
      return new ThreadSession(thread, id, signature, prepacked, shared, whole, cached);
    } catch (error) {
      thread.sessions--;
      throw error;
    }
  }

  /** Takes a program from the cache, or compiles it; loads of one family at once wait for one compilation. */
  async #compile(
    source: OrtSource,
    target: CompileTarget,
    thread: EngineThread,
  ): Promise<{ artifact: Artifact; cached: boolean }> {
    const key = compileKey(source.plan, target);
    const underway = this.#compiling.get(key);
    if (underway) return { artifact: await underway, cached: true };
    let cached = true;
    const compiling = this.#cached(key).then(async (known) => {
      if (known) return known;
      cached = false;
      const artifact = await compileProgram(await source.open(), target, thread);
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
    version === undefined ? undefined : await cache.get(compileKey(plan, { version, level: LEVEL }));
  return known && decodeArtifact(known);
}

function installedVersion(): string | undefined {
  try {
    return (createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string }).version;
  } catch {
    return undefined;
  }
}

/**
 * Waits for an answer or an abort. The engine itself cannot be stopped: it goes on in its thread, and its late answer
 * is dropped.
 */
async function unlessAborted<T>(
  answer: Promise<T>,
  signal?: AbortSignal,
  drop?: (late: T) => unknown,
): Promise<T> {
  if (!signal) return answer;
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([aborted, answer]);
  } catch (error) {
    answer.then(drop).catch(() => undefined);
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

class ThreadSession implements OrtSessionInfo {
  readonly signature: Signature;
  readonly prepacked: boolean;
  readonly packed: readonly string[];
  readonly whole: string | undefined;
  readonly cached: boolean;
  readonly #thread: EngineThread;
  readonly #id: number;
  #released: Promise<void> | undefined;

  constructor(
    thread: EngineThread,
    id: number,
    signature: Signature,
    prepacked: boolean,
    packed: readonly string[],
    whole: string | undefined,
    cached: boolean,
  ) {
    this.#thread = thread;
    this.#id = id;
    this.signature = signature;
    this.prepacked = prepacked;
    this.packed = packed;
    this.whole = whole;
    this.cached = cached;
  }

  async run(inputs: Tensors, options: RunOptions = {}): Promise<Tensors> {
    if (this.#released) throw new EngineError("released", "Cannot run a session that was released");
    options.signal?.throwIfAborted();
    const names = this.signature.inputs.map((port) => port.name);
    const missing = names.find((name) => !Object.hasOwn(inputs, name));
    if (missing !== undefined) {
      throw new EngineError("missing-input", `Cannot run without input "${missing}"`, { tensor: missing });
    }
    const odd = Object.keys(inputs).find((name) => !names.includes(name));
    if (odd !== undefined) {
      const hint = `it has ${names.join(", ")}`;
      throw new EngineError("bad-input", `Cannot feed "${odd}": the model has no such input`, {
        tensor: odd,
        hint,
      });
    }
    const answer = this.#thread.ask({
      op: "run",
      session: this.#id,
      inputs,
      outputs: options.outputs,
    });
    return unlessAborted(answer, options.signal);
  }

  async release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    // A session whose engine was closed before it is gone already.
    if (this.#thread.ended) return;
    await this.#thread.ask({ op: "release", session: this.#id });
    this.#thread.sessions--;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}
