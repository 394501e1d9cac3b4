import type { EngineError } from "../../errors.ts";
import type { LlamaNative, NativeChatWrapper, NativeLlama, NativeModel } from "./native.ts";

/** The engine in its process. */
export interface OpenedEngine {
  readonly native: LlamaNative;
  readonly llama: NativeLlama;
  readonly cores: number;
}

/** The part of a loaded model that a generation needs. */
export interface TextModel {
  readonly model: NativeModel;
  readonly engine: OpenedEngine;
  /** Tokenizes a text, without tokens that begin or end a sequence. Recognizes special tokens. */
  tokenize(text: string): number[];
  /** Formats messages with the model's chat template. */
  chatWrapper(): NativeChatWrapper;
  /** Refuses a text that the vocabulary has no tokens for, which would make the engine abort. */
  requireTokenizable(text: string): void;
  /** Refuses more tokens than fit in the context, which must keep some free. */
  checkContextSize(tokens: number, free: number): void;
  refusal(reason: string, hint?: string): EngineError;
}
