import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { EngineError } from "../../errors.ts";
import type { LinkedGguf } from "../../link/linked-program.ts";
import type { Engine, EngineCapabilities, EngineLoadOptions } from "../engine.ts";
import { EngineProcess } from "./process.ts";
import type { LoadSettings } from "./protocol.ts";
import { type LlamaSession, ProcessSession } from "./session.ts";

/** Options of {@link openLlama}. */
export interface LlamaOptions {
  /** Largest number of threads of all models together; the number of cores unless given. */
  readonly threads?: number | undefined;
  /** Use a GPU if the installed build supports it; off unless given. */
  readonly gpu?: boolean | undefined;
}

/** Options of a load. */
export interface LlamaLoadOptions extends EngineLoadOptions {
  /** Size of the context in tokens, for prompt and answer; that of the training, up to 4096, unless given. */
  readonly contextSize?: number | undefined;
  /** Number of threads when it runs alone; one for each 32 MiB of weights unless given. */
  readonly threads?: number | undefined;
  /** Load it for `embed` instead of `generate`. */
  readonly embedding?: boolean | undefined;
  /** Number of concurrent generations, each with its context; 1 unless given. Further calls wait. */
  readonly sequences?: number | undefined;
}

/** The part of a linked program that llama.cpp reads. */
export type LlamaProgram = Pick<LinkedGguf, "name" | "path" | "lease"> &
  Partial<Pick<LinkedGguf, "adapters">>;

const CAPABILITIES: EngineCapabilities = {
  formats: ["gguf"],
  sharesWeights: true,
  compilesWeightless: false,
  abortsRunning: true,
};

/**
 * The llama.cpp engine: unmodified `node-llama-cpp`, with all models in one separate process, so that they share mapped
 * memory, and a crash of the native library ends the models but not this process.
 */
export class Llama implements Engine<LlamaProgram, LlamaLoadOptions, LlamaSession> {
  readonly id = "llama";
  readonly version: string;
  readonly capabilities: EngineCapabilities = CAPABILITIES;
  readonly #cores: number;
  readonly #gpu: boolean;
  #process: EngineProcess | undefined;
  #closed = false;

  /** Use {@link openLlama}. */
  constructor(version: string, options: LlamaOptions) {
    this.version = version;
    this.#cores = options.threads ?? availableParallelism();
    this.#gpu = options.gpu ?? false;
    requireCount("threads", this.#cores);
  }

  /** Process id of the engine; `undefined` before the first load, and after a crash. */
  get pid(): number | undefined {
    return this.#process?.alive ? this.#process.pid : undefined;
  }

  /**
   * Starts the engine's process, so that the first load takes no longer than others.
   * @throws EngineError `no-engine`, `engine`, `released`
   */
  async start(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (this.#closed) throw new EngineError("released", "Cannot start llama.cpp: the engine was closed");
    await this.#live().ask({ op: "start" }, { doing: "starting", model: "llama.cpp" }, options);
  }

  /**
   * Loads a model. The engine maps its files without checking them: the caller checks them before.
   * @throws EngineError `no-engine`, `engine` with the native reason, `bad-input`, `released`
   */
  async load(program: LlamaProgram, options: LlamaLoadOptions = {}): Promise<LlamaSession> {
    const { name, path, adapters: given = [] } = program;
    const { contextSize, threads, embedding = false, sequences = 1, signal } = options;
    requireCount("contextSize", contextSize);
    requireCount("threads", threads);
    requireCount("sequences", sequences);
    const refuse = (code: "bad-input" | "released", reason: string): EngineError =>
      new EngineError(code, `Cannot load "${name}": ${reason}`, { path });
    if (this.#closed) throw refuse("released", "the engine was closed");
    if (embedding && given.length > 0) throw refuse("bad-input", "embeddings with a LoRA are not supported");
    const adapters = given.map(({ path: file, scale }) => ({ path: resolve(file), scale }));
    const where = { name, path: resolve(path), adapters };
    const settings: LoadSettings = { ...where, contextSize, threads, sequences, embedding };
    const process = this.#live();
    const loaded = await process.ask(
      { op: "load", settings },
      { doing: "loading", model: name, path },
      { signal },
    );
    if (signal?.aborted) {
      await new ProcessSession(process, loaded, { name, path }).release();
      throw signal.reason;
    }
    return new ProcessSession(process, loaded, program);
  }

  /** Returns the process; starts one if none is alive. */
  #live(): EngineProcess {
    if (!this.#process?.alive) this.#process = new EngineProcess({ cores: this.#cores, gpu: this.#gpu });
    return this.#process;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#process?.end();
  }
}

/**
 * Opens llama.cpp; its process starts when the first model is loaded.
 * @throws EngineError `no-engine` if `node-llama-cpp` is not installed
 */
export function openLlama(options: LlamaOptions = {}): Llama {
  const version = installedVersion();
  if (version !== undefined) return new Llama(version, options);
  throw new EngineError("no-engine", "Cannot load llama.cpp: node-llama-cpp is not installed", {
    hint: "Install it: npm install node-llama-cpp",
  });
}

/** Reads the version from the package.json above the package's entry, because the package does not export it. */
function installedVersion(): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve("node-llama-cpp");
    const manifest = readFileSync(join(dirname(entry), "..", "package.json"), "utf8");
    return (JSON.parse(manifest) as { version: string }).version;
  } catch {
    return undefined;
  }
}

function requireCount(what: string, value: number | undefined): void {
  if (value === undefined || (Number.isInteger(value) && value > 0)) return;
  throw new RangeError(`${what} is ${value}, not a positive integer`);
}
