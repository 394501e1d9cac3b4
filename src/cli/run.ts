import { Command, CommanderError } from "commander";
import { TareError } from "../errors.ts";
import type { Act } from "./command.ts";
import { commandsFor } from "./commands/index.ts";
import { Context, type GlobalOptions, type Streams } from "./context.ts";
import { printable, printableLine } from "./printable.ts";

const DESCRIPTION = `Stores each weight of your machine-learning models once, and shares it among all models that use it.

A model file has a program and weights. tare stores them separately: fine-tunes of one foundation model share the
weights that they did not change, on disk and in memory. Unmodified engines run the stored models.`;

const FIRST_STEPS = `
First steps:
  $ tare add models/base models/fine-tune    add two models; equal weights are stored once
  $ tare ls                                  list the models, with the sizes of their shared and own weights
  $ tare map --out family.html               draw which models share which weights
  $ tare run fine-tune --in inputs.json      run a model; it maps the stored weights
  $ tare VERB --help                         explain a verb, with examples

The store is the folder of --store, else of $TARE_STORE, else "tare" in the XDG data folder (~/.local/share/tare).
`;

/**
 * Runs a command line.
 * @param argv arguments without node and script
 * @returns the exit code: 0, 1 for a failure, 2 for a usage mistake, 130 after Ctrl-C
 */
export async function run(argv: readonly string[], streams: Streams, signal?: AbortSignal): Promise<number> {
  const interrupt = new AbortController();
  let code = 0;
  const program = new Command("tare")
    .description(DESCRIPTION)
    .version(await version(), "-v, --version")
    .option("--store <dir>", "the store's folder")
    .option("--json", "print the result as JSON")
    .addHelpText("after", FIRST_STEPS)
    .showSuggestionAfterError()
    .showHelpAfterError("(tare VERB --help shows examples)")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void streams.stdout.write(printable(text)),
      writeErr: (text) => void streams.stderr.write(printable(text)),
    });
  const abort = signal ? AbortSignal.any([signal, interrupt.signal]) : interrupt.signal;
  const act: Act =
    (work) =>
    async (...args) => {
      const context = new Context(streams, program.opts<GlobalOptions>(), abort);
      code = (await work(context, ...args)) ?? 0;
    };
  for (const define of await commandsFor(argv)) define(program, act);
  for (const command of program.commands) {
    command
      .exitOverride()
      .option("--store <dir>", "the store's folder")
      .option("--json", "print the result as JSON");
    // The global options may also follow the verb.
    command.hook("preAction", (_, verb) => {
      for (const [key, value] of Object.entries(verb.opts<GlobalOptions>())) {
        if (key === "store" || key === "json") program.setOptionValue(key, value);
      }
    });
  }

  const onInterrupt = (): void => interrupt.abort(new TareError("io", "Interrupted"));
  process.once("SIGINT", onInterrupt);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (abort.aborted) {
      streams.stderr.write("tare: interrupted; no output is incomplete\n");
      return 130;
    }
    if (error instanceof TareError) {
      report(error, streams, program.opts<GlobalOptions>().json ?? false);
      return error.code === "usage" ? 2 : 1;
    }
    // System errors outside a store (a missing folder, a full disk) are no bugs: report them like other failures.
    if (error instanceof Error && "syscall" in error) {
      report(
        new TareError("io", error.message, { cause: error }),
        streams,
        program.opts<GlobalOptions>().json ?? false,
      );
      return 1;
    }
    throw error;
  } finally {
    process.off("SIGINT", onInterrupt);
  }
}

/** Prints an error with its cause and hint, each in one line, except for the lines of a list; with --json also as JSON on stdout. */
function report(error: TareError, { stdout, stderr }: Streams, json: boolean): void {
  const { code, message, path, offset, tensor, digest, hint } = error;
  if (json)
    stdout.write(
      `${printable(JSON.stringify({ error: { code, message, path, offset, tensor, digest, hint } }, null, 2))}\n`,
    );
  const { lines = [] } = error;
  const head = message.slice(0, message.length - lines.reduce((sum, line) => sum + line.length + 1, 0));
  stderr.write(`${[`tare: ${head}`, ...lines].map(printableLine).join("\n")}\n`);
  const { cause } = error;
  if (cause instanceof Error && !message.includes(cause.message))
    stderr.write(`  because: ${printableLine(cause.message)}\n`);
  if (hint !== undefined) stderr.write(`  hint: ${printableLine(hint)}\n`);
}

async function version(): Promise<string> {
  const { default: meta } = (await import("../../package.json", { with: { type: "json" } })) as {
    default: { version: string };
  };
  return meta.version;
}
