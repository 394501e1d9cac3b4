import type { LinkedProgram } from "../link/linked-program.ts";
import type { Signature } from "../tensor/signature.ts";
import type { Tensors } from "../tensor/tensor.ts";

export type { Port, Signature } from "../tensor/signature.ts";

/** What an engine can do, as data: callers ask instead of trying. */
export interface EngineCapabilities {
  /** Formats of programs that it runs. */
  readonly formats: readonly string[];
  /** Sessions of several models, and processes, share one mapping of a weight. */
  readonly sharesWeights: boolean;
  /** One compiled program serves every model of a family. */
  readonly compilesWeightless: boolean;
  /** `abort` stops a run that has begun; otherwise its result is dropped when it comes. */
  readonly abortsRunning: boolean;
}

/** Options of a load that every engine has. */
export interface EngineLoadOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Options of a run. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Outputs wanted; all unless given. */
  readonly outputs?: readonly string[] | undefined;
}

/** A loaded model. Release it (or dispose it) to give its memory back. */
export interface Session extends AsyncDisposable {
  readonly signature: Signature;
  /**
   * Runs the model; never blocks the caller's thread.
   * @throws EngineError `missing-input`, `bad-input` naming the input, `released`, `engine`
   */
  run(inputs: Tensors, options?: RunOptions): Promise<Tensors>;
  /** Ends the session when runs under way are done; a second call does nothing. */
  release(): Promise<void>;
}

/** A turn of a conversation. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** How text is generated. */
export interface GenerateOptions {
  /** Tokens generated at most, or one more to end a character; as many as the context holds unless given. */
  readonly maxTokens?: number | undefined;
  /** 0, the likeliest token each time, unless given. */
  readonly temperature?: number | undefined;
  /** Samples from the `topK` likeliest tokens; 0 for all, the engine's own number unless given. */
  readonly topK?: number | undefined;
  /** Samples from the likeliest tokens that have this share of the probability together. */
  readonly topP?: number | undefined;
  /** Leaves out tokens less likely than this share of the likeliest one's probability. */
  readonly minP?: number | undefined;
  /** The same seed gives the same text; a random one unless given. */
  readonly seed?: number | undefined;
  /** Texts before which generation ends. */
  readonly stop?: readonly string[] | undefined;
  /** JSON schema that the text then follows. */
  readonly jsonSchema?: object | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Takes the text piece by piece, as it comes. */
  readonly onText?: ((text: string) => void) | undefined;
}

/**
 * Why generation ended: the model was done, a `stop` text came, `maxTokens` were reached, or the context was full.
 */
export type StopReason = "end" | "stop" | "length" | "context";

/** Generated text. */
export interface Generation {
  /** What was handed to `onText`, joined. */
  readonly text: string;
  /** Ids of the text's tokens, without the one that ends it; those of a `stop` text may follow. */
  readonly tokens: readonly number[];
  /** Tokens of the prompt, with what the model or its chat template put around it. */
  readonly promptTokens: number;
  /** From the first token on; with the prompt's last tokens where there is but one. */
  readonly tokensPerSecond: number;
  readonly stopReason: StopReason;
}

/** A loaded model that generates text. Release it (or dispose it) to give its memory back. */
export interface TextSession extends AsyncDisposable {
  /**
   * Generates text; never blocks the caller's thread.
   * @param prompt a text, which is continued as it is, or messages, for the model's own chat template
   * @throws EngineError `bad-input`, `too-large` if the prompt does not fit the context, `released`, `engine`
   */
  generate(prompt: string | readonly ChatMessage[], options?: GenerateOptions): Promise<Generation>;
  /** Ends the session when runs under way are done; a second call does nothing. */
  release(): Promise<void>;
}

/**
 * The seam to an engine. Dispose it to end its threads or processes, and its sessions.
 * `P` is the part of a linked program that it reads, `O` the options of a load, `S` its sessions.
 */
export interface Engine<
  P = LinkedProgram,
  O extends EngineLoadOptions = EngineLoadOptions,
  S extends AsyncDisposable = AsyncDisposable,
> extends AsyncDisposable {
  /** The id of its entry in the registry. */
  readonly id: string;
  /** The version of the library that it runs on. */
  readonly version: string;
  readonly capabilities: EngineCapabilities;
  /**
   * Loads a program over its weights. The session takes the program's lease over: it ends with the session. If the load
   * fails, the lease stays the caller's.
   * @throws EngineError `no-engine`, `engine`, `unsupported`, `released`; LinkError for weights that do not fit
   */
  load(program: P, options?: O): Promise<S>;
}
