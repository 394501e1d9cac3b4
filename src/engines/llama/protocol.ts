import type { PackedError } from "../../errors.ts";
import type { LinkedAdapter } from "../../link/linked-program.ts";
import type { ChatMessage, Generation } from "../engine.ts";

/** What the process is started with. */
export interface ProcessSettings {
  /** Threads that all models together may use. */
  readonly cores: number;
  readonly gpu: boolean;
}

/** How a model is loaded. */
export interface LoadSettings {
  readonly path: string;
  /** For errors. */
  readonly name: string;
  readonly contextSize: number | undefined;
  readonly threads: number | undefined;
  readonly sequences: number;
  readonly embedding: boolean;
  readonly adapters: readonly LinkedAdapter[];
}

/** How text is generated: the options of `generate` that can be sent. */
export interface GenerateSettings {
  readonly maxTokens: number | undefined;
  readonly temperature: number;
  readonly topK: number | undefined;
  readonly topP: number | undefined;
  readonly minP: number | undefined;
  readonly seed: number | undefined;
  readonly stop: readonly string[];
  readonly jsonSchema: object | undefined;
}

/** What the engine's process is asked to do. */
export type Request =
  | { readonly op: "start" }
  | { readonly op: "load"; readonly settings: LoadSettings }
  | {
      readonly op: "generate";
      readonly session: number;
      readonly prompt: string | readonly ChatMessage[];
      readonly settings: GenerateSettings;
    }
  | { readonly op: "embed"; readonly session: number; readonly text: string }
  | { readonly op: "tokenize"; readonly session: number; readonly text: string }
  | { readonly op: "release"; readonly session: number };

/** What each request answers. */
export interface Answers {
  readonly start: null;
  readonly load: { readonly session: number; readonly info: ModelFacts };
  readonly generate: Generation;
  readonly embed: Float32Array;
  readonly tokenize: readonly number[];
  readonly release: null;
}

/** What the engine says of a loaded model. */
export interface ModelFacts {
  /** Tokens that prompt and answer may have together. */
  readonly contextSize: number;
  /** Tokens of context that the model was trained on. */
  readonly trainContext: number;
  readonly parameters: number;
  /** Bytes of its weights. */
  readonly sizeBytes: number;
  /** Whether the file has a chat template: whether `generate` takes messages. */
  readonly chatTemplate: boolean;
  /** Architecture, size and quantization in the engine's words, such as "llama 7B Q8_0". */
  readonly description: string;
}

/** A request on its way to the process, or the wish to stop one. */
export type Call =
  | { readonly id: number; readonly request: Request }
  | { readonly id: number; readonly abort: true };

/** A piece of generated text, or the answer. */
export type Reply =
  | { readonly id: number; readonly text: string }
  | { readonly id: number; readonly result: Answers[keyof Answers] }
  | { readonly id: number; readonly error: PackedError };
