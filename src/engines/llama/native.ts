/**
 * The part of `node-llama-cpp` that tare uses. The package is an optional peer dependency; the engine's process imports
 * it at the first load.
 */
export interface LlamaNative {
  getLlama(options: NativeLlamaOptions): Promise<NativeLlama>;
  resolveChatWrapper(
    model: NativeModel,
    options: { readonly type: "auto" | "jinjaTemplate"; readonly warningLogs: boolean },
  ): NativeChatWrapper;
  readonly LlamaCompletion: new (options: { readonly contextSequence: NativeSequence }) => NativeCompletion;
  readonly LlamaChat: new (options: {
    readonly contextSequence: NativeSequence;
    readonly chatWrapper: NativeChatWrapper;
  }) => NativeChat;
}

export interface NativeLlamaOptions {
  readonly build: "never";
  readonly gpu: false | "auto";
  /** Number of threads of all contexts together; concurrent evaluations share them. */
  readonly maxThreads: number;
  readonly logLevel: "error";
  readonly logger: (level: string, message: string) => void;
  readonly progressLogs: false;
  readonly skipDownload: true;
}

export interface NativeLlama {
  loadModel(options: {
    readonly modelPath: string;
    readonly useMmap: true;
    readonly ignoreMemorySafetyChecks: true;
    readonly loadSignal: AbortSignal;
  }): Promise<NativeModel>;
  createGrammarForJsonSchema(schema: object): Promise<NativeGrammar>;
}

export interface NativeModel {
  /** Bytes of the weights. */
  readonly size: number;
  readonly trainContextSize: number;
  readonly typeDescription: string;
  readonly fileInsights: { readonly totalParameters: number };
  readonly fileInfo: { readonly metadata: { readonly tokenizer?: NativeTokenizerMetadata } };
  readonly tokens: { readonly bos: number | null; readonly shouldPrependBosToken: boolean };
  readonly tokenizer: NativeTokenizer;
  tokenize(text: string, specialTokens: boolean): number[];
  detokenize(tokens: readonly number[], specialTokens: false, before: readonly number[]): string;
  createContext(options: {
    readonly contextSize: number;
    readonly sequences: number;
    readonly threads: { readonly ideal: number };
    readonly lora?: { readonly adapters: readonly { readonly filePath: string; readonly scale: number }[] };
    readonly ignoreMemorySafetyChecks: true;
    readonly failedCreationRemedy: false;
    readonly createSignal: AbortSignal;
  }): Promise<NativeContext>;
  createEmbeddingContext(options: {
    readonly contextSize: number;
    readonly threads: number;
    readonly ignoreMemorySafetyChecks: true;
    readonly createSignal: AbortSignal;
  }): Promise<NativeEmbeddingContext>;
  dispose(): Promise<void>;
}

/** The keys of a GGUF file that start with "tokenizer.". */
export interface NativeTokenizerMetadata {
  readonly chat_template?: string;
  readonly ggml?: { readonly model?: string; readonly tokens?: readonly string[] };
}

/** Handed back to the library only. */
export type NativeTokenizer = { readonly nativeTokenizer: never };

/** Handed back to the library only. */
export type NativeGrammar = { readonly nativeGrammar: never };

export interface NativeContext {
  readonly contextSize: number;
  getSequence(): NativeSequence;
  dispose(): Promise<void>;
}

export interface NativeSequence {
  readonly contextSize: number;
  /** Number of tokens that it has evaluated and kept. */
  readonly nextTokenIndex: number;
  readonly tokenMeter: { readonly usedOutputTokens: number };
  compareContextTokens(tokens: readonly number[]): { readonly firstDifferentIndex: number };
  adaptStateToTokens(tokens: readonly number[], allowShift: boolean): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
  clearHistory(): Promise<void>;
}

export interface NativeEmbeddingContext {
  calculateInputLength(input: readonly number[]): number;
  getEmbeddingFor(input: readonly number[]): Promise<{ readonly vector: readonly number[] }>;
  dispose(): Promise<void>;
}

/** Options that completions and chats have in common. */
export interface NativeGenerateOptions {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number | undefined;
  readonly topP?: number | undefined;
  readonly minP?: number | undefined;
  readonly seed: number;
  readonly repeatPenalty: false;
  readonly grammar: NativeGrammar | undefined;
  readonly signal: AbortSignal;
  /** Ends with the text so far, once there is some text. */
  readonly stopOnAbortSignal: true;
  readonly onToken: (tokens: readonly number[]) => void;
  readonly onTextChunk: (text: string) => void;
}

export interface NativeResponse {
  readonly metadata: {
    readonly stopReason: "eogToken" | "stopGenerationTrigger" | "customStopTrigger" | "maxTokens" | "abort";
  };
}

export interface NativeCompletion {
  generateCompletionWithMeta(
    tokens: readonly number[],
    options: NativeGenerateOptions & { readonly disableContextShift: true; readonly contextShiftSize: 1 },
  ): Promise<NativeResponse>;
  dispose(): void;
}

export interface NativeChat {
  generateResponse(
    history: readonly NativeChatItem[],
    options: NativeGenerateOptions,
  ): Promise<NativeResponse>;
  dispose(): void;
}

export type NativeChatItem =
  | { readonly type: "system" | "user"; readonly text: string }
  | { readonly type: "model"; readonly response: readonly string[] };

export interface NativeChatWrapper {
  generateContextState(options: { readonly chatHistory: readonly NativeChatItem[] }): {
    readonly contextText: { tokenize(tokenizer: NativeTokenizer): number[] };
  };
}
