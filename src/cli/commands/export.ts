import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { outputPath } from "../options.ts";

/** `tare export`: the original files. */
export const exportCommand: DefineCommand = (program, act) => {
  program
    .command("export")
    .summary("write a model's original files, byte for byte")
    .description(
      "Write a model's original files as they were added, external data included: a file where the model has one,\n" +
        "else a folder. Every weight is checked against its digest on the way.",
    )
    .argument("<model>")
    .argument("[path]", "the same as --out")
    .option("--out <path>", "where to write")
    .addHelpText("after", examples("tare export base base.onnx", "tare export base --out exported/"))
    .action(
      act(async (context, model: string, path: string | undefined, flags: { readonly out?: string }) => {
        const out = outputPath(path, flags.out);
        const store = await context.openStore();
        const result = await context.withProgress(`exporting ${model}`, (onProgress) =>
          store.export(model, out, { signal: context.signal, onProgress }),
        );
        context.print(result, () => `exported ${model}: ${bytes(result.bytes)} to ${result.path}`);
      }),
    );
};
