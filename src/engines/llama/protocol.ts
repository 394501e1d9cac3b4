import type { PackedError } from "../../errors.ts";
import type { LinkedAdapter } from "../../link/linked-program.ts";
import type { ChatMessage, Generation } from "../engine.ts";

/** Options of the process. */
export interface ProcessSettings {
  /** Number of threads of all models together. */
  readonly cores: number;
  readonly gpu: boolean;
}

/** Options of a load. */
export interface LoadSettings {
  readonly path: string;
  /** Name of the model in errors. */
  readonly name: string;
  readonly contextSize: number | undefined;
  readonly threads: number | undefined;
  readonly sequences: number;
  readonly embedding: boolean;
  readonly adapters: readonly LinkedAdapter[];
}

/** The options of `generate` that can be sent to the process. */
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

/** Requests to the engine's process. */
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

/** The result of each request. */
export interface Answers {
  readonly start: null;
  readonly load: { readonly session: number; readonly info: ModelFacts };
  readonly generate: Generation;
  readonly embed: Float32Array;
  readonly tokenize: readonly number[];
  readonly release: null;
}

/** Properties of a loaded model. */
export interface ModelFacts {
  /** Size of the context in tokens, for prompt and answer. */
  readonly contextSize: number;
  /** Size in tokens of the context that the model was trained on. */
  readonly trainContext: number;
  readonly parameters: number;
  /** Size of its weights in bytes. */
  readonly sizeBytes: number;
  /** Whether the file has a chat template, so that `generate` accepts messages. */
  readonly chatTemplate: boolean;
  /** Architecture, size and quantization in the engine's words, such as "llama 7B Q8_0". */
  readonly description: string;
}

/** A message to the process: a request, or the abort of one. */
export type Call =
  | { readonly id: number; readonly request: Request }
  | { readonly id: number; readonly abort: true };

/** A message from the process: a piece of generated text, or a result. */
export type Reply =
  | { readonly id: number; readonly text: string }
  | { readonly id: number; readonly result: Answers[keyof Answers] }
  | { readonly id: number; readonly error: PackedError };
