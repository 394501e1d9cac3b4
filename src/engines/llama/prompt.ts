import type { ChatMessage } from "../engine.ts";
import type { NativeChatItem, NativeGenerateOptions, NativeResponse, NativeSequence } from "./native.ts";
import type { TextModel } from "./text-model.ts";

/** Number of tokens that decide whether the next token starts with a space. */
const DETOKENIZER_MEMORY = 32;

/** A tokenized prompt. */
export interface Prompt {
  readonly tokens: readonly number[];
  /** Generates on a sequence, which first reads the tokens that it does not have. */
  run(sequence: NativeSequence, options: NativeGenerateOptions): Promise<NativeResponse>;
}

/** Tokenizes a text to continue, or messages with the model's chat template. */
export function preparePrompt(loaded: TextModel, prompt: string | readonly ChatMessage[]): Prompt {
  return typeof prompt === "string" ? prepareText(loaded, prompt) : prepareChat(loaded, prompt);
}

function prepareText(loaded: TextModel, text: string): Prompt {
  const { model, engine } = loaded;
  const { bos, shouldPrependBosToken } = model.tokens;
  const given = loaded.tokenize(text);
  const start = shouldPrependBosToken && bos !== null ? [bos] : [];
  const tokens = start.length > 0 && given[0] === bos ? given.slice(1) : given;
  const all = [...start, ...tokens];
  return {
    tokens: all,
    async run(sequence, options) {
      const completion = new engine.native.LlamaCompletion({ contextSequence: sequence });
      const before = all.slice(-DETOKENIZER_MEMORY);
      try {
        return await completion.generateCompletionWithMeta(tokens, {
          ...options,
          disableContextShift: true,
          contextShiftSize: 1,
          onToken(ids) {
            // The text of the library loses a space between the prompt and the first word.
            options.onToken(ids);
            options.onTextChunk(model.detokenize(ids, false, before));
            before.push(...ids);
            before.splice(0, before.length - DETOKENIZER_MEMORY);
          },
          onTextChunk: () => undefined,
        });
      } finally {
        completion.dispose();
      }
    },
  };
}

function prepareChat(loaded: TextModel, messages: readonly ChatMessage[]): Prompt {
  const { model, engine } = loaded;
  const chatWrapper = loaded.chatWrapper();
  for (const { content } of messages) loaded.requireTokenizable(content);
  if (messages.length === 0) throw loaded.refusal("there are no messages");
  const history = messages.map(toChatItem);
  const last = history.at(-1);
  const begun: NativeChatItem[] = last?.type === "model" ? [] : [{ type: "model", response: [] }];
  let tokens: number[];
  try {
    tokens = chatWrapper
      .generateContextState({ chatHistory: [...history, ...begun] })
      .contextText.tokenize(model.tokenizer);
  } catch (error) {
    throw loaded.refusal(`its chat template refuses the messages: ${(error as Error).message}`);
  }
  return {
    tokens,
    async run(sequence, options) {
      const chat = new engine.native.LlamaChat({ contextSequence: sequence, chatWrapper });
      try {
        return await chat.generateResponse(history, options);
      } finally {
        chat.dispose();
      }
    },
  };
}

function toChatItem({ role, content }: ChatMessage): NativeChatItem {
  return role === "assistant" ? { type: "model", response: [content] } : { type: role, text: content };
}
