import { joinSplit } from "../../operations/split/join.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { outputPath } from "../options.ts";

/** `tare join`: a split, undone. */
export const join: DefineCommand = (program, act) => {
  program
    .command("join")
    .summary("undo a split: write a model's original files, byte for byte")
    .description(
      "Put a model's original files together again, byte for byte, from the files that tare split wrote. Every weight\n" +
        "is checked against its digest on the way. No store is needed.",
    )
    .argument("<dir>", "the split's folder")
    .argument("[model]", "which of its models; may be left out where it has one")
    .option("--out <path>", "the file, or the folder of a model with several")
    .addHelpText(
      "after",
      examples("tare join dist kjv --out kjv.gguf", "tare join dist --out restored/ --json"),
    )
    .action(
      act(async (context, dir: string, model: string | undefined, flags: { readonly out?: string }) => {
        const out = outputPath(undefined, flags.out);
        const result = await context.withProgress("joining", (onProgress) =>
          joinSplit(dir, model, out, { signal: context.signal, onProgress }),
        );
        context.print(result, () => `joined ${model ?? dir}: ${bytes(result.bytes)} to ${result.path}`);
      }),
    );
};
