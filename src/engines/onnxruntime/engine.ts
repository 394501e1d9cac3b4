import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { EngineError } from "../../errors.ts";
import type { OnnxModel, OnnxValue } from "../../formats/onnx/graph.ts";
import type { Tensors } from "../../model/tensor.ts";
import type {
  CompileCache,
  Engine,
  EngineCapabilities,
  Port,
  RunOptions,
  Session,
  Signature,
} from "../engine.ts";
import { type CompiledProgram, compileProgram, type OrtProgram } from "./compile.ts";
import { needsPrepacking, type Prepacking } from "./prepacking.ts";
import { EngineThread } from "./thread.ts";

/** Options of {@link openOnnxRuntime}. */
export interface OnnxRuntimeOptions {
  /** Threads that sessions live in, each running one at a time; the number of cores, up to 4, unless given. */
  readonly workers?: number | undefined;
  readonly cache?: CompileCache | undefined;
}

/** How a session is made. */
export interface OrtLoadOptions {
  /** `auto` prepacks where a kernel needs it; `on` ("throughput") everywhere, at the price of private memory. */
  readonly prepacking?: Prepacking | undefined;
  /** Threads for one operator; one a core unless given. */
  readonly threads?: number | undefined;
  /** Lets idle threads spin: worth it for a process with one session only. */
  readonly spinning?: boolean | undefined;
  readonly level?: "disabled" | "basic" | "extended" | "all" | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A session, and what the engine made of its program. */
export interface OrtSessionInfo extends Session {
  readonly prepacked: boolean;
  readonly compiled: Pick<CompiledProgram, "whole" | "cached">;
}

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

  constructor(version: string, options: OnnxRuntimeOptions) {
    this.version = version;
    this.#cache = options.cache;
    const count = options.workers ?? Math.min(4, availableParallelism());
    this.#threads = Array.from({ length: count }, () => new EngineThread());
  }

  /**
   * Compiles a program (once for its family) without loading it.
   * @throws EngineError
   */
  async compile(program: OrtProgram, options: OrtLoadOptions = {}): Promise<CompiledProgram> {
    const target = { version: this.version, level: options.level ?? "extended" };
    return compileProgram(program, target, this.#leastBusy(), this.#cache, options.signal);
  }

  /**
   * Loads a program over the files of `folder`, which the engine maps itself: nothing is copied.
   * @throws EngineError
   */
  async load(program: OrtProgram, folder: string, options: OrtLoadOptions = {}): Promise<OrtSessionInfo> {
    const thread = this.#leastBusy();
    thread.sessions++;
    try {
      const compiled = await this.compile(program, options);
      const { prepacking = "auto", threads = 0, spinning = false, signal } = options;
      const prepacked =
        prepacking === "auto" ? needsPrepacking(compiled.graph) !== undefined : prepacking === "on";
      const settings = { level: compiled.level, prepack: prepacked, threads, spinning, folder };
      const id = await thread.ask({ op: "load", model: compiled.bytes, settings }, signal);
      return new OrtThreadSession(thread, id, signatureOf(program.graph), prepacked, compiled);
    } catch (error) {
      thread.sessions--;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.end()));
  }

  #leastBusy(): EngineThread {
    return this.#threads.reduce((least, thread) => (thread.sessions < least.sessions ? thread : least));
  }
}

/**
 * Opens ONNX Runtime.
 * @throws EngineError `no-engine` if `onnxruntime-node` is not installed
 */
export function openOnnxRuntime(options: OnnxRuntimeOptions = {}): OnnxRuntime {
  let version: string;
  try {
    version = (createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string })
      .version;
  } catch (cause) {
    throw new EngineError("no-engine", "Cannot load ONNX Runtime: onnxruntime-node is not installed", {
      cause,
      hint: "npm install onnxruntime-node",
    });
  }
  return new OnnxRuntime(version, options);
}

/** What a model takes and gives; initializers are no inputs. */
export function signatureOf(graph: OnnxModel): Signature {
  const bound = new Set(graph.tensors.filter((each) => each.graph === graph.graph).map((each) => each.local));
  const port = ({ name, dtype, shape }: OnnxValue): Port => ({ name, dtype, shape });
  return {
    inputs: graph.graph.inputs.filter((input) => !bound.has(input.name)).map(port),
    outputs: graph.graph.outputs.map(port),
  };
}

class OrtThreadSession implements OrtSessionInfo {
  readonly signature: Signature;
  readonly prepacked: boolean;
  readonly compiled: Pick<CompiledProgram, "whole" | "cached">;
  readonly #thread: EngineThread;
  readonly #id: number;
  #released: Promise<void> | undefined;

  constructor(
    thread: EngineThread,
    id: number,
    signature: Signature,
    prepacked: boolean,
    compiled: CompiledProgram,
  ) {
    this.#thread = thread;
    this.#id = id;
    this.signature = signature;
    this.prepacked = prepacked;
    this.compiled = { whole: compiled.whole, cached: compiled.cached };
  }

  async run(inputs: Tensors, options: RunOptions = {}): Promise<Tensors> {
    if (this.#released) throw new EngineError("released", "Cannot run a session that was released");
    for (const { name } of this.signature.inputs) {
      if (Object.hasOwn(inputs, name)) continue;
      throw new EngineError("missing-input", `Cannot run without input "${name}"`, { tensor: name });
    }
    const given = Object.fromEntries(
      this.signature.inputs.map(({ name }) => [name, inputs[name]]),
    ) as Tensors;
    const request = { op: "run", session: this.#id, inputs: given, outputs: options.outputs } as const;
    return this.#thread.ask(request, options.signal);
  }

  async release(): Promise<void> {
    this.#released ??= this.#thread.ask({ op: "release", session: this.#id }).then(() => {
      this.#thread.sessions--;
    });
    return this.#released;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}
