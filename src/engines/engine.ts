import type { LinkedProgram } from "../link/linked-program.ts";
import type { Signature } from "../tensor/signature.ts";
import type { Tensors } from "../tensor/tensor.ts";

export type { Port, Signature } from "../tensor/signature.ts";

/** Capabilities of an engine, as data, so that callers need not try. */
export interface EngineCapabilities {
  /** Formats of programs that it runs. */
  readonly formats: readonly string[];
  /** Whether sessions and processes share one mapping of a weight. */
  readonly sharesWeights: boolean;
  /** Whether all models of a family use one compiled program. */
  readonly compilesWeightless: boolean;
  /** Whether an abort stops a running call; otherwise its result is dropped. */
  readonly abortsRunning: boolean;
}

/** Options of a load that every engine has. */
export interface EngineLoadOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Options of a run. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Names of the outputs to return; all unless given. */
  readonly outputs?: readonly string[] | undefined;
}

/** A loaded model. Release or dispose it to free its memory. */
export interface Session extends AsyncDisposable {
  readonly signature: Signature;
  /**
   * Runs the model; never blocks the caller's thread.
   * @throws EngineError `missing-input`, `bad-input` naming the input, `released`, `engine`
   */
  run(inputs: Tensors, options?: RunOptions): Promise<Tensors>;
  /** Ends the session after its running calls; a second call has no effect. */
  release(): Promise<void>;
}

/** A message of a conversation. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** Options of a generation. */
export interface GenerateOptions {
  /** Largest number of tokens, or one more to complete a character; the free context unless given. */
  readonly maxTokens?: number | undefined;
  /** Sampling temperature; 0 unless given, which always takes the likeliest token. */
  readonly temperature?: number | undefined;
  /** Samples from the `topK` likeliest tokens; 0 for all. The engine's default unless given. */
  readonly topK?: number | undefined;
  /** Samples from the likeliest tokens whose probabilities sum to this share. */
  readonly topP?: number | undefined;
  /** Leaves out tokens whose probability is below this share of that of the likeliest token. */
  readonly minP?: number | undefined;
  /** Seed of the sampling: the same seed gives the same text; random unless given. */
  readonly seed?: number | undefined;
  /** Texts before which the generation stops. */
  readonly stop?: readonly string[] | undefined;
  /** JSON schema that the text must match. */
  readonly jsonSchema?: object | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with each piece of text as it is generated. */
  readonly onText?: ((text: string) => void) | undefined;
}

/**
 * Why the generation ended: the model ended the text, a `stop` text occurred, or `maxTokens` or the context was reached.
 */
export type StopReason = "end" | "stop" | "length" | "context";

/** Generated text. */
export interface Generation {
  /** All pieces of `onText`, joined. */
  readonly text: string;
  /** Token ids of the text, without the token that ends it; tokens of a `stop` text may follow. */
  readonly tokens: readonly number[];
  /** Number of tokens of the prompt, including those that the model or its chat template adds. */
  readonly promptTokens: number;
  /** Rate from the first token on; includes the last step of the prompt if there is only one token. */
  readonly tokensPerSecond: number;
  readonly stopReason: StopReason;
}

/** A loaded model that generates text. Release or dispose it to free its memory. */
export interface TextSession extends AsyncDisposable {
  /**
   * Generates text; never blocks the caller's thread.
   * @param prompt a text to continue, or messages for the model's chat template
   * @throws EngineError `bad-input`, `too-large` if the prompt does not fit the context, `released`, `engine`
   */
  generate(prompt: string | readonly ChatMessage[], options?: GenerateOptions): Promise<Generation>;
  /** Ends the session after its running calls; a second call has no effect. */
  release(): Promise<void>;
}

/**
 * Interface of an engine. Dispose it to end its threads or processes, and its sessions.
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
   * Loads a linked program. The session takes over the program's lease, and releases it at its end. If the load fails, the
   * caller keeps the lease.
   * @throws EngineError `no-engine`, `engine`, `unsupported`, `released`; LinkError for weights that do not match
   */
  load(program: P, options?: O): Promise<S>;
}
