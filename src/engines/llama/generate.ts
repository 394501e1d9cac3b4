import type { ChatMessage, Generation, StopReason } from "../engine.ts";
import type { NativeGenerateOptions, NativeGrammar, NativeSequence } from "./native.ts";
import { preparePrompt, type Prompt } from "./prompt.ts";
import type { GenerateSettings } from "./protocol.ts";
import type { SequencePool } from "./sequence-pool.ts";
import { StopFilter } from "./stop-filter.ts";
import type { TextModel } from "./text-model.ts";

/** Number of tokens of a prompt that are read between two checks of the signal. */
const PROMPT_STEP = 128;
/** A request for a generation. */
export interface GenerateRequest {
  readonly prompt: string | readonly ChatMessage[];
  readonly settings: GenerateSettings;
  readonly signal: AbortSignal;
  readonly onText: (text: string) => void;
}

/**
 * Generates text on one of a model's sequences. Reuses the tokens that the sequence has read before, unless a seed is
 * given: other batches round differently, which may change a sampled text.
 */
export async function generate(
  loaded: TextModel,
  sequences: SequencePool,
  request: GenerateRequest,
): Promise<Generation> {
  const { signal, settings } = request;
  signal.throwIfAborted();
  const prompt = preparePrompt(loaded, request.prompt);
  if (prompt.tokens.length === 0) throw loaded.refusal("the prompt is empty");
  loaded.checkContextSize(prompt.tokens.length, 2);
  const grammar = settings.jsonSchema && (await grammarOf(loaded, settings.jsonSchema));
  const sequence = await sequences.take(prompt.tokens, signal);
  try {
    if (settings.seed !== undefined) await sequence.clearHistory();
    await read(sequence, prompt.tokens, signal);
    return await answer(prompt, sequence, request, grammar);
  } finally {
    sequences.give(sequence);
  }
}

async function grammarOf(loaded: TextModel, schema: object): Promise<NativeGrammar> {
  try {
    return await loaded.engine.llama.createGrammarForJsonSchema(schema);
  } catch (error) {
    throw loaded.refusal(`the engine cannot follow the JSON schema: ${(error as Error).message}`);
  }
}

/**
 * Reads the tokens that a sequence does not have yet, except for the last step. The generation reads that step, because
 * each evaluation reads all weights for any number of tokens.
 */
async function read(sequence: NativeSequence, tokens: readonly number[], signal: AbortSignal): Promise<void> {
  await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
  while (tokens.length - sequence.nextTokenIndex > PROMPT_STEP) {
    signal.throwIfAborted();
    const at = sequence.nextTokenIndex;
    await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(at, at + PROMPT_STEP));
  }
}

async function answer(
  prompt: Prompt,
  sequence: NativeSequence,
  { settings, signal, onText }: GenerateRequest,
  grammar: NativeGrammar | undefined,
): Promise<Generation> {
  const filter = new StopFilter(settings.stop);
  const stopper = new AbortController();
  const tokens: number[] = [];
  let text = "";
  const emit = (piece: string): void => {
    if (piece === "") return;
    text += piece;
    onText(piece);
  };
  const room = sequence.contextSize - prompt.tokens.length;
  const maxTokens = Math.min(settings.maxTokens ?? room, room);
  const counted = sequence.tokenMeter.usedOutputTokens;
  const start = performance.now();
  /** Time of the first token, and number of tokens then: the rate does not include reading the prompt. */
  let first: { readonly at: number; readonly counted: number } | undefined;
  const options: NativeGenerateOptions = {
    maxTokens,
    temperature: settings.temperature,
    topK: settings.topK,
    topP: settings.topP,
    minP: settings.minP,
    seed: settings.seed ?? Math.floor(Math.random() * 2 ** 32),
    repeatPenalty: false,
    grammar,
    signal: AbortSignal.any([signal, stopper.signal]),
    stopOnAbortSignal: true,
    onToken(ids) {
      first ??= { at: performance.now(), counted: sequence.tokenMeter.usedOutputTokens };
      if (!filter.hit) tokens.push(...ids);
    },
    onTextChunk(piece) {
      emit(filter.push(piece));
      if (filter.hit) stopper.abort();
    },
  };
  let reason: StopReason = "end";
  try {
    const { metadata } = await prompt.run(sequence, options);
    if (metadata.stopReason === "maxTokens") reason = settings.maxTokens === maxTokens ? "length" : "context";
  } catch (error) {
    // The library ends a run like an abort if a stop text comes before any other text.
    if (!filter.hit) throw error;
  }
  signal.throwIfAborted();
  if (filter.hit) reason = "stop";
  emit(filter.end());
  const used = sequence.tokenMeter.usedOutputTokens;
  const from = first && used > first.counted ? first : { at: start, counted };
  const tokensPerSecond = ((used - from.counted) / (performance.now() - from.at)) * 1000;
  return { text, tokens, promptTokens: prompt.tokens.length, tokensPerSecond, stopReason: reason };
}
