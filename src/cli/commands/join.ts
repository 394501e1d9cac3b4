import { joinSplit } from "../../operations/split/join.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { outputPath } from "../options.ts";

/** `tare join`: restores the original files from a split. */
export const join: DefineCommand = (program, act) => {
  program
    .command("join")
    .summary("restore a model's original files from a split, byte for byte")
    .description(
      "Restore the original files of a model, byte for byte, from the folder that tare split wrote. Every weight is\n" +
        "checked against its digest while it is written. No store is needed.",
    )
    .argument("<dir>", "the folder of the split")
    .argument("[model]", "the model to restore; optional if the split has one model")
    .option("--out <path>", "path of the new file; of the new folder if the model has several files")
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
