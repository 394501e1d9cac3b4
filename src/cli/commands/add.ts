import { Option } from "commander";
import type { AddResult } from "../../local-store/add.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";

interface AddFlags {
  readonly as?: string;
  readonly replace?: boolean;
  readonly move?: boolean;
  /** The old name of `move`. */
  readonly consume?: boolean;
}

/** `tare add`: models into the store. */
export const add: DefineCommand = (program, act) => {
  program
    .command("add")
    .summary("add models to the store")
    .description(
      "Add models: each PATH is one (a model's file or checkpoint, docs/formats.md lists them, or a folder of such files,\n" +
        "each a method, whose small companions, like a tokenizer, go with it). With --as, all PATHs are one model.\n" +
        "External data, the other shards of a split model and their index are found. A trainer's state in a folder\n" +
        "(optimizer.pt, ...) is left out and listed. Every weight is read and hashed once; what the store has already is\n" +
        "not stored again.",
    )
    .argument("<path...>", "files or folders")
    .option("--as <name>", "the model's name; its file's or folder's name unless given")
    .option("--replace", "give the name to this model though another has it")
    .option(
      "--move",
      "free the files while they are added, and remove them at the end: no second copy on the disk",
    )
    .addOption(new Option("--consume").hideHelp())
    .addHelpText(
      "after",
      examples(
        "tare add base.onnx",
        "tare add models/base models/fine-tune",
        "tare add decoder.onnx decoder_with_past.onnx --as summarizer",
        "tare add large.gguf --move                    # ended early, the same command goes on",
      ),
    )
    .action(
      act(async (context, paths: string[], flags: AddFlags) => {
        const store = await context.openStore();
        if (flags.consume) context.streams.stderr.write("tare: --consume is now called --move\n");
        const move = flags.move ?? flags.consume;
        const groups = flags.as === undefined ? paths.map((path) => [path]) : [paths];
        const results: AddResult[] = [];
        for (const group of groups) {
          const { as, replace } = flags;
          const options = { as, replace, move, signal: context.signal };
          const result = await context.withProgress(`adding ${flags.as ?? group[0]}`, (onProgress) =>
            store.add(group, { ...options, onProgress }),
          );
          results.push(result);
          if (!context.options.json) context.print(result, () => describe(result));
        }
        if (context.options.json) context.print(results, () => "");
      }),
    );
};

function describe(result: AddResult): string {
  const { name, fileBytes, newBytes, weights, notes = [] } = result;
  const share = fileBytes > 0 ? Math.round((newBytes / fileBytes) * 100) : 0;
  const news = newBytes === 0 ? "all there already" : `${bytes(newBytes)} new (${share} %)`;
  const line = `added ${name}: ${bytes(fileBytes)} in files, ${weights} weights, ${news}`;
  return [line, ...notes.map((note) => `  note: ${note}`)].join("\n");
}
