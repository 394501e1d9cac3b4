import { Command, CommanderError } from "commander";
import { TareError } from "../errors.ts";
import type { Act } from "./command.ts";
import { commandsFor } from "./commands/index.ts";
import { Context, type GlobalOptions, type Streams } from "./context.ts";

const DESCRIPTION = `Stores the weights of machine-learning models once, shared by every model that uses them.

A model file is a program with holes, and each hole is a weight. tare keeps programs and weights apart: fine-tunes
of one foundation share what they did not change, on disk and in memory, and stock engines run the result.`;

const FIRST_STEPS = `
First steps:
  $ tare add models/base models/fine-tune    add two models; what they share is stored once
  $ tare ls                                  what is there, shared and own
  $ tare map --out family.html               a picture of the family
  $ tare run fine-tune --in inputs.json      run one, over the shared weights

The store is --store DIR, else $TARE_STORE, else tare in the XDG data folder (~/.local/share/tare).
`;

/**
 * Runs a command line.
 * @param argv without node and script
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
    .showHelpAfterError("(tare COMMAND --help shows examples)")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void streams.stdout.write(text),
      writeErr: (text) => void streams.stderr.write(text),
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
    // Options may come before or after the verb.
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
      streams.stderr.write("tare: interrupted; nothing was left half-done\n");
      return 130;
    }
    if (error instanceof TareError) {
      report(error, streams, program.opts<GlobalOptions>().json ?? false);
      return error.code === "usage" ? 2 : 1;
    }
    // What the system refuses beside a store (a picture's folder, a full disk) is no bug: it is told like the rest.
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

/** Says what failed, why, and what to do. */
function report(error: TareError, { stdout, stderr }: Streams, json: boolean): void {
  const { code, message, path, offset, tensor, digest, hint } = error;
  if (json)
    stdout.write(
      `${JSON.stringify({ error: { code, message, path, offset, tensor, digest, hint } }, null, 2)}\n`,
    );
  stderr.write(`tare: ${message}\n`);
  const { cause } = error;
  if (cause instanceof Error && !message.includes(cause.message))
    stderr.write(`  because: ${cause.message}\n`);
  if (hint !== undefined) stderr.write(`  hint: ${hint}\n`);
}

async function version(): Promise<string> {
  const { default: meta } = (await import("../../package.json", { with: { type: "json" } })) as {
    default: { version: string };
  };
  return meta.version;
}
