import { EngineError } from "../../errors.ts";
import type { LinkedGguf } from "../../link/linked-program.ts";
import type { ChatMessage, GenerateOptions, Generation, TextSession } from "../engine.ts";
import type { AskOptions, EngineProcess, CallContext } from "./process.ts";
import type { Answers, GenerateSettings, ModelFacts, Request } from "./protocol.ts";

/** Limit of a seed, which has 32 bits. */
const SEEDS = 2 ** 32;

/** A loaded GGUF model. Answers to messages count the tokens of the model's reasoning, but do not contain its text. */
export interface LlamaSession extends TextSession {
  readonly info: ModelFacts;
  /** Whether it can run: false after its release, and after the end of the engine's process. */
  readonly live: boolean;
  /** Whether a call runs on it or waits. */
  readonly busy: boolean;
  /**
   * Computes the embedding of a text, not normalized. The model must be loaded with `embedding`.
   * @throws EngineError `bad-input`, `too-large` if the text does not fit the context, `released`, `engine`
   */
  embed(text: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<Float32Array>;
  /**
   * Returns the token ids of a text, without tokens that begin or end a sequence.
   * @throws EngineError `bad-input` for a character that the vocabulary has no token for, `released`, `engine`
   */
  tokenize(text: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<readonly number[]>;
}

/** Context of a session. */
export type SessionProgram = Pick<LinkedGguf, "name" | "path" | "lease">;

/** A model in the engine's process. */
export class ProcessSession implements LlamaSession {
  readonly info: ModelFacts;
  readonly #process: EngineProcess;
  readonly #id: number;
  readonly #context: CallContext;
  readonly #lease: AsyncDisposable | undefined;
  #released: Promise<void> | undefined;
  #running = 0;

  constructor(process: EngineProcess, loaded: Answers["load"], { name, path, lease }: SessionProgram) {
    this.info = loaded.info;
    this.#process = process;
    this.#id = loaded.session;
    this.#context = { doing: "running", model: name, path };
    this.#lease = lease;
  }

  get live(): boolean {
    return !this.#released && this.#process.alive;
  }

  get busy(): boolean {
    return this.#running > 0;
  }

  async generate(
    prompt: string | readonly ChatMessage[],
    options: GenerateOptions = {},
  ): Promise<Generation> {
    this.#requireLive();
    const settings = settingsOf(options, (reason) => {
      throw new EngineError("bad-input", `Cannot run "${this.#context.model}": ${reason}`);
    });
    const request = { op: "generate", session: this.#id, prompt, settings } as const;
    return this.#ask(request, { signal: options.signal, onText: options.onText });
  }

  async embed(
    text: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Float32Array> {
    this.#requireLive();
    return this.#ask({ op: "embed", session: this.#id, text }, options);
  }

  async tokenize(
    text: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly number[]> {
    this.#requireLive();
    return this.#ask({ op: "tokenize", session: this.#id, text }, options);
  }

  async release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    // The process has ended, and its models with it.
    if (this.#process.alive) await this.#process.ask({ op: "release", session: this.#id }, this.#context);
    await this.#lease?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  async #ask<R extends Request>(request: R, options: AskOptions): Promise<Answers[R["op"]]> {
    this.#running++;
    try {
      return await this.#process.ask(request, this.#context, options);
    } finally {
      this.#running--;
    }
  }

  #requireLive(): void {
    if (!this.#released) return;
    throw new EngineError("released", `Cannot run "${this.#context.model}": the session was released`);
  }
}

/** Checks options, which may be untrusted, and fills in defaults. */
function settingsOf(options: GenerateOptions, refuse: (reason: string) => never): GenerateSettings {
  const { maxTokens, temperature = 0, topK, topP, minP, seed, stop = [], jsonSchema } = options;
  const within = (name: string, value: number | undefined, least: number, most: number): void => {
    if (value === undefined || (value >= least && value <= most)) return;
    refuse(`${name} is ${value}, not ${most === Infinity ? `${least} or more` : `from ${least} to ${most}`}`);
  };
  const integer = (name: string, value: number | undefined): void => {
    if (value !== undefined && !Number.isInteger(value)) refuse(`${name} is ${value}, not an integer`);
  };
  integer("maxTokens", maxTokens);
  integer("topK", topK);
  integer("seed", seed);
  within("maxTokens", maxTokens, 1, Infinity);
  within("temperature", temperature, 0, Infinity);
  within("topK", topK, 0, Infinity);
  within("topP", topP, 0, 1);
  within("minP", minP, 0, 1);
  within("seed", seed, 0, SEEDS - 1);
  if (stop.includes("")) refuse("a stop text is empty");
  if (jsonSchema !== undefined && (typeof jsonSchema !== "object" || jsonSchema === null)) {
    refuse("the JSON schema is not an object");
  }
  return { maxTokens, temperature, topK, topP, minP, seed, stop, jsonSchema };
}
