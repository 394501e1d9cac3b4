import type { EngineError } from "../../errors.ts";
import type { LlamaNative, NativeChatWrapper, NativeLlama, NativeModel } from "./native.ts";

/** The engine, as its process has it. */
export interface OpenedEngine {
  readonly native: LlamaNative;
  readonly llama: NativeLlama;
  readonly cores: number;
}

/** What generating needs of a loaded model. */
export interface TextModel {
  readonly model: NativeModel;
  readonly engine: OpenedEngine;
  /** Ids of a text as it stands, without what begins or ends a sequence; special tokens are recognized. */
  tokenize(text: string): number[];
  /** How the model's own template turns messages into text. */
  chatWrapper(): NativeChatWrapper;
  /** Refuses a text that the vocabulary has no tokens for: the engine would abort at it. */
  requireTokenizable(text: string): void;
  /** Refuses more tokens than the context takes, beside those that must be free. */
  requireFit(tokens: number, free: number): void;
  refusal(reason: string, hint?: string): EngineError;
}
