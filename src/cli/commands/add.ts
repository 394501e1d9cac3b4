import { Option } from "commander";
import type { AddResult } from "../../local-store/add.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { printableLine } from "../printable.ts";

interface AddFlags {
  readonly as?: string;
  readonly replace?: boolean;
  readonly move?: boolean;
  /** The old name of `move`. */
  readonly consume?: boolean;
}

/** `tare add`: adds models to the store. */
export const add: DefineCommand = (program, act) => {
  program
    .command("add")
    .summary("add models to the store")
    .description(
      "Add models to the store. Each PATH is one model: a model file or checkpoint (docs/formats.md lists the formats),\n" +
        "or a folder of such files. Each file of a folder is a method of the model; small files beside them, such as a\n" +
        "tokenizer, are added too. With --as, all PATHs together are one model.\n\n" +
        "tare also reads external data, and the other shards and the index of a sharded model. It leaves out the state of\n" +
        "a trainer in a folder (optimizer.pt, ...) and lists it. It reads and hashes every\n" +
        "weight once, and stores only the weights that the store does not have yet.",
    )
    .argument("<path...>", "files or folders")
    .option("--as <name>", "name of the model (default: the name of its file or folder)")
    .option("--replace", "take the name even if another model has it")
    .option(
      "--move",
      "free the disk space of the files while they are added, and remove the files at the end",
    )
    .addOption(new Option("--consume").hideHelp())
    .addHelpText(
      "after",
      examples(
        "tare add base.onnx",
        "tare add models/base models/fine-tune",
        "tare add decoder.onnx decoder_with_past.onnx --as summarizer",
        "tare add large.gguf --move                    # after an interruption, run it again to continue",
      ),
    )
    .action(
      act(async (context, paths: string[], flags: AddFlags) => {
        const store = await context.openStore();
        if (flags.consume) context.warn("--consume is now called --move");
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
  const news = newBytes === 0 ? "all already stored" : `${bytes(newBytes)} new (${share} %)`;
  const line = `added ${name}: ${bytes(fileBytes)} in files, ${weights} weights, ${news}`;
  return [line, ...notes.map((note) => `  note: ${printableLine(note)}`)].join("\n");
}
