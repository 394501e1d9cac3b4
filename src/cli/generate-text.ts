import type { GenerateOptions } from "../engines/engine.ts";
import type { LlamaSession } from "../engines/llama/session.ts";
import { UsageError } from "../errors.ts";
import type { TareStore } from "../tare-store.ts";
import type { TextLoadOptions } from "../runtime/load-text.ts";
import type { Context } from "./context.ts";
import { number, parseAdapter } from "./options.ts";

/** Options of the command line for models that generate text. */
export interface TextFlags {
  readonly maxTokens?: string;
  readonly temperature?: string;
  readonly topK?: string;
  readonly topP?: string;
  readonly seed?: string;
  readonly stop: readonly string[];
  readonly context?: string;
  readonly threads?: string;
  readonly adapter: readonly string[];
  readonly raw?: boolean;
  readonly verify?: boolean;
}

/**
 * Generates the answer of a GGUF model to a prompt. The prompt is a chat message if the model has a chat template; else,
 * or with --raw, the model continues the text. Streams the text to stdout; writes token counts to stderr if stderr is a
 * terminal.
 * @throws UsageError for an empty prompt
 */
export async function generateText(
  context: Context,
  store: TareStore,
  model: string,
  prompt: string,
  flags: TextFlags,
): Promise<void> {
  if (prompt === "") {
    throw new UsageError("usage", `Cannot run "${model}" without a prompt`, {
      hint: `Add a prompt: tare run ${model} "once upon a time"`,
    });
  }
  await using runtime = await context.openRuntime(store);
  await using session = await runtime.loadText(model, {
    ...loadOptions(flags),
    adapters: flags.adapter.map(parseAdapter),
    signal: context.signal,
  });
  const { stderr } = context.streams;
  const result = await session.generate(promptFor(session, prompt, flags), {
    ...generateOptions(flags),
    signal: context.signal,
    onText: (text) => context.printProse(text),
  });
  context.print(result, () => "");
  if (stderr.isTTY && !context.options.json) {
    const rate = `${result.tokensPerSecond.toFixed(1)} tokens/s`;
    stderr.write(`${result.tokens.length} tokens, ${rate}; ended: ${result.stopReason}\n`);
  }
}

/** Converts flags to options of a load. */
export function loadOptions(flags: TextFlags): Pick<TextLoadOptions, "contextSize" | "threads" | "verify"> {
  return {
    contextSize: number("--context", flags.context),
    threads: number("--threads", flags.threads),
    verify: flags.verify,
  };
}

/** Converts flags to options of a generation. */
export function generateOptions(flags: TextFlags): GenerateOptions {
  return {
    maxTokens: number("--max-tokens", flags.maxTokens),
    temperature: number("--temperature", flags.temperature),
    topK: number("--top-k", flags.topK),
    topP: number("--top-p", flags.topP),
    seed: number("--seed", flags.seed),
    stop: flags.stop,
  };
}

/** Wraps a prompt as a chat message if the model has a chat template and --raw is not given. */
export function promptFor(
  session: LlamaSession,
  prompt: string,
  flags: TextFlags,
): Parameters<LlamaSession["generate"]>[0] {
  return session.info.chatTemplate && !flags.raw ? [{ role: "user", content: prompt }] : prompt;
}
