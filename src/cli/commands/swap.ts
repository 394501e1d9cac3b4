import type { Generation } from "../../engines/engine.ts";
import { UsageError } from "../../errors.ts";
import type { Adapter } from "../../link/link-gguf.ts";
import type { PooledText, TextPool } from "../../runtime/text-pool.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, type Context, table } from "../context.ts";
import { generateOptions, loadOptions, promptFor, type TextFlags } from "../generate-text.ts";
import { collect, number, parseAdapter } from "../options.ts";

interface SwapFlags extends TextFlags {
  readonly prompt?: string;
  readonly keep: string;
}

/** A model on the command line, with the LoRAs to lay over it. */
interface Task {
  readonly label: string;
  readonly model: string;
  readonly adapters: readonly Adapter[];
}

/** What a model's turn took and gave. Sizes in bytes, times in milliseconds. */
interface Turn
  extends Pick<PooledText, "model" | "adapters" | "newBytes" | "addedBytes">,
    Pick<Generation, "text" | "tokensPerSecond" | "stopReason"> {
  readonly label: string;
  /** Whether the model had to be loaded. */
  readonly fresh: boolean;
  readonly swapMs: number;
  /** From the end of the swap to the first text; `undefined` where there was none. */
  readonly firstTokenMs: number | undefined;
}

/** `tare swap`: models that take turns in one process. */
export const swap: DefineCommand = (program, act) => {
  program
    .command("swap")
    .summary("let text models answer in turn, over one copy of what they share")
    .description(
      "Load GGUF models one after the other in one process, and let each answer the prompt. The next one is loaded\n" +
        "before the one before goes: what they share stays in memory, and only what is a model's own is loaded.\n" +
        "A table shows what each swap took, and what it added to the engine's memory. MODEL+LORA[:SCALE] is a model with\n" +
        "a LoRA of the store over it; a model that is named twice gets two turns.",
    )
    .argument("<model...>")
    .option("--prompt <text>", "what each model is to answer")
    .option("--keep <count>", "models that stay loaded, those used last", "1")
    .option("--max-tokens <count>", "tokens at most, for each", "32")
    .option("--temperature <t>", "0 takes the likeliest token each time", "0")
    .option("--top-k <count>", "sample from the likeliest tokens only")
    .option("--top-p <share>", "sample from the likeliest tokens of this share together")
    .option("--seed <number>", "the same seed gives the same text")
    .option("--stop <text>", "end before this; may be repeated", collect, [])
    .option("--context <tokens>", "room for prompt and answer")
    .option(
      "--adapter <name[:scale]>",
      "lay a LoRA of the store over every model; may be repeated",
      collect,
      [],
    )
    .option("--threads <count>", "threads of each; one for each 32 MiB of weights unless given")
    .option("--raw", "continue the prompt as it is, without the model's chat template")
    .option("--verify", "hash every weight before it is used")
    .addHelpText(
      "after",
      examples(
        'tare swap base kjv licence --prompt "And he said"',
        'tare swap base kjv base kjv --keep 2 --prompt "And he said"   # the second turns load nothing',
        'tare swap writer writer+pirate:0.8 --prompt "And he said"     # a LoRA over a model is a task too',
        'tare swap base kjv --prompt "And he said" --json',
      ),
    )
    .action(
      act(async (context, names: string[], flags: SwapFlags) => {
        const { prompt } = flags;
        if (prompt === undefined || prompt === "") {
          throw new UsageError("usage", "Cannot swap models without a prompt", {
            hint: `tare swap ${names.join(" ")} --prompt "once upon a time"`,
          });
        }
        const keep = number("--keep", flags.keep) ?? 1;
        if (!Number.isInteger(keep) || keep < 1)
          throw new UsageError("usage", `Cannot use --keep ${flags.keep}: it is a whole number above 0`);
        const all = flags.adapter.map(parseAdapter);
        const tasks = names.map((name) => parseTask(name, all));
        const store = await context.openStore();
        await using runtime = await context.openRuntime(store);
        await using texts = runtime.openTexts({ ...loadOptions(flags), keep, measure: true });
        const turns: Turn[] = [];
        for (const task of tasks) turns.push(await takeTurn(context, texts, task, prompt, flags));
        context.print({ turns }, () => `\n${turnTable(turns)}`);
      }),
    );
};

async function takeTurn(
  context: Context,
  texts: TextPool,
  { label, model, adapters }: Task,
  prompt: string,
  flags: SwapFlags,
): Promise<Turn> {
  const { signal } = context;
  const { session, ms: swapMs, fresh } = await texts.swap(model, { adapters, signal });
  const write = (text: string): void => void (context.options.json || context.streams.stdout.write(text));
  const began = performance.now();
  let firstTokenMs: number | undefined;
  write(`${label}: ${prompt}`);
  const { text, tokensPerSecond, stopReason } = await session.generate(promptFor(session, prompt, flags), {
    ...generateOptions(flags),
    signal,
    onText(piece) {
      firstTokenMs ??= performance.now() - began;
      write(piece);
    },
  });
  write("\n");
  const [current] = texts.loaded;
  const { newBytes = 0, addedBytes } = current ?? {};
  const generated = { text, tokensPerSecond, stopReason };
  return { label, model, adapters, fresh, swapMs, firstTokenMs, newBytes, addedBytes, ...generated };
}

/** `MODEL`, or `MODEL+LORA:SCALE`, with as many LoRAs as wanted: names have no plus. */
function parseTask(label: string, all: readonly Adapter[]): Task {
  const [model = label, ...adapters] = label.split("+");
  return { label, model, adapters: [...adapters.map(parseAdapter), ...all] };
}

function turnTable(turns: readonly Turn[]): string {
  const rows = turns.map((turn) => [
    turn.label,
    turn.fresh ? ms(turn.swapMs) : `${ms(turn.swapMs)}, was loaded`,
    turn.firstTokenMs === undefined ? "" : ms(turn.firstTokenMs),
    turn.fresh ? (turn.addedBytes === undefined ? "not told" : bytes(turn.addedBytes)) : "",
    turn.fresh ? bytes(turn.newBytes) : "",
    turn.tokensPerSecond.toFixed(1),
  ]);
  const head = ["MODEL", "SWAP", "FIRST TOKEN", "ADDED", "OWN", "TOKENS/S"];
  return `${table([head, ...rows], [2, 3, 4, 5])}\nADDED: growth of the engine's memory (PSS); OWN: weights that no model loaded at that time had`;
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}
