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

/** A model of the command line, with the LoRAs to apply to it. */
interface Task {
  readonly label: string;
  readonly model: string;
  readonly adapters: readonly Adapter[];
}

/** The result and the cost of one turn. Sizes in bytes, times in milliseconds. */
interface Turn
  extends Pick<PooledText, "model" | "adapters" | "newBytes" | "addedBytes">,
    Pick<Generation, "text" | "tokensPerSecond" | "stopReason"> {
  readonly label: string;
  /** Whether the model had to be loaded. */
  readonly fresh: boolean;
  readonly swapMs: number;
  /** Time from the end of the swap to the first text; `undefined` if the model generated no text. */
  readonly firstTokenMs: number | undefined;
}

/** `tare swap`: runs text models in turn in one process. */
export const swap: DefineCommand = (program, act) => {
  program
    .command("swap")
    .summary("run text models in turn in one process, with one copy of the weights they share")
    .description(
      "Load GGUF models in turn in one process, and let each answer the prompt. tare loads the next model before it\n" +
        "releases the last one: their shared weights stay in memory, and only the other weights are loaded.\n\n" +
        "A table shows the time of each swap and the memory that it added. MODEL+LORA[:SCALE] is a model with a LoRA of\n" +
        "the store applied to it. A model that you name twice has two turns.",
    )
    .argument("<model...>", "models of the store, one for each turn")
    .option("--prompt <text>", "the prompt that each model answers")
    .option("--keep <count>", "number of models that stay loaded, the last used first", "1")
    .option("--max-tokens <count>", "largest number of tokens to generate in each turn", "32")
    .option("--temperature <t>", "sampling temperature; 0 always takes the likeliest token", "0")
    .option("--top-k <count>", "sample from this many likeliest tokens")
    .option("--top-p <share>", "sample from the likeliest tokens whose probabilities sum to this share")
    .option("--seed <number>", "seed of the sampling; the same seed gives the same text")
    .option("--stop <text>", "stop before this text; may be repeated", collect, [])
    .option("--context <tokens>", "size of the context, which holds prompt and answer")
    .option(
      "--adapter <name[:scale]>",
      "apply a LoRA of the store to every model; may be repeated",
      collect,
      [],
    )
    .option("--threads <count>", "threads of each model (default: one for each 32 MiB of weights)")
    .option("--raw", "continue the prompt as it is, without the model's chat template")
    .option("--verify", "hash every weight before the run")
    .addHelpText(
      "after",
      examples(
        'tare swap base kjv licence --prompt "And he said"',
        'tare swap base kjv base kjv --keep 2 --prompt "And he said"   # the third and fourth turn load nothing',
        'tare swap writer writer+pirate:0.8 --prompt "And he said"     # the second turn applies a LoRA',
        'tare swap base kjv --prompt "And he said" --json',
      ),
    )
    .action(
      act(async (context, names: string[], flags: SwapFlags) => {
        const { prompt } = flags;
        if (prompt === undefined || prompt === "") {
          throw new UsageError("usage", "Cannot swap models without a prompt", {
            hint: `Add a prompt: tare swap ${names.join(" ")} --prompt "once upon a time"`,
          });
        }
        const keep = number("--keep", flags.keep) ?? 1;
        if (!Number.isInteger(keep) || keep < 1)
          throw new UsageError("usage", `Cannot use --keep ${flags.keep}: it must be a positive integer`);
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
  const write = (text: string): void => context.printProse(text);
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

/** Parses `MODEL` or `MODEL+LORA:SCALE`, with any number of LoRAs. Names of models have no plus sign. */
function parseTask(label: string, all: readonly Adapter[]): Task {
  const [model = label, ...adapters] = label.split("+");
  return { label, model, adapters: [...adapters.map(parseAdapter), ...all] };
}

function turnTable(turns: readonly Turn[]): string {
  const rows = turns.map((turn) => [
    turn.label,
    turn.fresh ? ms(turn.swapMs) : `${ms(turn.swapMs)}, was loaded`,
    turn.firstTokenMs === undefined ? "" : ms(turn.firstTokenMs),
    turn.fresh ? (turn.addedBytes === undefined ? "unknown" : bytes(turn.addedBytes)) : "",
    turn.fresh ? bytes(turn.newBytes) : "",
    turn.tokensPerSecond.toFixed(1),
  ]);
  const header = ["MODEL", "SWAP", "FIRST TOKEN", "ADDED", "OWN", "TOKENS/S"];
  return `${table([header, ...rows], [2, 3, 4, 5])}\nADDED: growth of the engine's memory (PSS); OWN: weights that no other loaded model had`;
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}
