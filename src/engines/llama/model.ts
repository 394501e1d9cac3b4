import { EngineError } from "../../errors.ts";
import type { ChatMessage, Generation } from "../engine.ts";
import { generate } from "./generate.ts";
import type { NativeChatWrapper, NativeContext, NativeEmbeddingContext, NativeModel } from "./native.ts";
import type { GenerateSettings, LoadSettings, ModelFacts } from "./protocol.ts";
import { SequencePool } from "./sequence-pool.ts";
import type { OpenedEngine, TextModel } from "./text-model.ts";
import { idealThreads } from "./threads.ts";
import { type FindUntokenizable, untokenizableFinder } from "./vocabulary.ts";

/** Default limit of the context in tokens, because its cache takes memory for every token. */
const DEFAULT_CONTEXT = 4096;

/** A model in the engine's process. */
export class LoadedModel implements TextModel {
  readonly name: string;
  readonly model: NativeModel;
  readonly engine: OpenedEngine;
  readonly info: ModelFacts;
  readonly #contexts: Contexts;
  readonly #findUntokenizable: FindUntokenizable | undefined;
  readonly #running = new Set<Promise<unknown>>();
  #wrapper: NativeChatWrapper | undefined;

  /** Use {@link loadModel}. */
  constructor(engine: OpenedEngine, name: string, model: NativeModel, contexts: Contexts) {
    const { tokenizer } = model.fileInfo.metadata;
    this.engine = engine;
    this.name = name;
    this.model = model;
    this.#contexts = contexts;
    this.#findUntokenizable = untokenizableFinder(tokenizer);
    this.info = {
      contextSize: contexts.size,
      trainContext: model.trainContextSize,
      parameters: model.fileInsights.totalParameters,
      sizeBytes: model.size,
      chatTemplate: (tokenizer?.chat_template ?? "") !== "",
      description: model.typeDescription,
    };
  }

  /** Generates on the sequence that has read most of the prompt; waits if all are busy. */
  async generate(
    prompt: string | readonly ChatMessage[],
    settings: GenerateSettings,
    signal: AbortSignal,
    onText: (text: string) => void,
  ): Promise<Generation> {
    const { sequences } = this.#contexts;
    if (!sequences) throw this.refusal("it was loaded for embeddings", "Load it without embedding");
    return this.#run(generate(this, sequences, { prompt, settings, signal, onText }));
  }

  async embed(text: string): Promise<Float32Array> {
    const { embedding } = this.#contexts;
    if (!embedding) throw this.refusal("it was loaded to generate text", "Load it with embedding: true");
    const tokens = this.tokenize(text);
    if (tokens.length === 0) throw this.refusal("the text is empty");
    this.checkContextSize(embedding.calculateInputLength(tokens), 1);
    return this.#run(embedding.getEmbeddingFor(tokens).then(({ vector }) => Float32Array.from(vector)));
  }

  tokenize(text: string): number[] {
    this.requireTokenizable(text);
    return this.model.tokenize(text, true);
  }

  chatWrapper(): NativeChatWrapper {
    const template = this.model.fileInfo.metadata.tokenizer?.chat_template ?? "";
    if (template === "") throw this.refusal("its file has no chat template", "Give the prompt as a text");
    this.requireTokenizable(template);
    // The library tokenizes its own texts to compare the template with known ones.
    const type = this.#findUntokenizable ? "jinjaTemplate" : "auto";
    this.#wrapper ??= this.engine.native.resolveChatWrapper(this.model, { type, warningLogs: false });
    return this.#wrapper;
  }

  requireTokenizable(text: string): void {
    const character = this.#findUntokenizable?.(text);
    if (character !== undefined) {
      throw this.refusal(`its vocabulary has no token for ${JSON.stringify(character)}`);
    }
  }

  checkContextSize(tokens: number, free: number): void {
    const { contextSize } = this.info;
    if (tokens + free <= contextSize) return;
    const message = `Cannot run "${this.name}": the prompt has ${tokens} tokens and the context ${contextSize}`;
    const hint = "Shorten the prompt, or load the model with a larger contextSize";
    throw new EngineError("too-large", message, { hint });
  }

  refusal(reason: string, hint?: string): EngineError {
    return new EngineError("bad-input", `Cannot run "${this.name}": ${reason}`, { hint });
  }

  /** Frees model and context after running calls. */
  async release(): Promise<void> {
    await Promise.allSettled(this.#running);
    await this.#contexts.native.dispose();
    await this.model.dispose();
  }

  async #run<T>(run: Promise<T>): Promise<T> {
    this.#running.add(run);
    try {
      return await run;
    } finally {
      this.#running.delete(run);
    }
  }
}

/** Context of a model, for text or for embeddings. */
interface Contexts {
  /** Number of tokens of one sequence. */
  readonly size: number;
  readonly native: { dispose(): Promise<void> };
  readonly sequences?: SequencePool;
  readonly embedding?: NativeEmbeddingContext;
}

/** Loads a model; it maps its files. */
export async function loadModel(
  engine: OpenedEngine,
  settings: LoadSettings,
  signal: AbortSignal,
): Promise<LoadedModel> {
  const model = await engine.llama.loadModel({
    modelPath: settings.path,
    useMmap: true,
    ignoreMemorySafetyChecks: true,
    loadSignal: signal,
  });
  try {
    const contexts = await createContexts(engine, settings, model, signal);
    return new LoadedModel(engine, settings.name, model, contexts);
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

async function createContexts(
  { cores }: OpenedEngine,
  settings: LoadSettings,
  model: NativeModel,
  createSignal: AbortSignal,
): Promise<Contexts> {
  const { sequences, embedding } = settings;
  const contextSize = settings.contextSize ?? Math.min(model.trainContextSize, DEFAULT_CONTEXT);
  const ideal = idealThreads(model.size, cores, settings.threads);
  const common = { contextSize, ignoreMemorySafetyChecks: true, createSignal } as const;
  if (embedding) {
    const native = await model.createEmbeddingContext({ ...common, threads: ideal });
    return { size: contextSize, native, embedding: native };
  }
  const adapters = settings.adapters.map(({ path, scale }) => ({ filePath: path, scale }));
  const native: NativeContext = await model.createContext({
    ...common,
    sequences,
    threads: { ideal },
    failedCreationRemedy: false,
    ...(adapters.length > 0 && { lora: { adapters } }),
  });
  const all = Array.from({ length: sequences }, () => native.getSequence());
  return { size: native.contextSize, native, sequences: new SequencePool(all) };
}
