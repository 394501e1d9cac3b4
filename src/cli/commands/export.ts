import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { outputPath } from "../options.ts";

/** `tare export`: writes the original files of a model. */
export const exportCommand: DefineCommand = (program, act) => {
  program
    .command("export")
    .summary("write a model's original files, byte for byte")
    .description(
      "Write the files of a model as they were added, byte for byte, external data included. The result is a file if the\n" +
        "model has one file, else a folder. Every weight is checked against its digest while it is written.",
    )
    .argument("<model>", "a model of the store")
    .argument("[path]", "the same as --out")
    .option("--out <path>", "path of the new file or folder")
    .addHelpText("after", examples("tare export base base.onnx", "tare export base --out exported/"))
    .action(
      act(async (context, model: string, path: string | undefined, flags: { readonly out?: string }) => {
        const out = outputPath(path, flags.out);
        const store = await context.openStore({ create: false });
        const result = await context.withProgress(`exporting ${model}`, (onProgress) =>
          store.export(model, out, { signal: context.signal, onProgress }),
        );
        context.print(result, () => `exported ${model}: ${bytes(result.bytes)} to ${result.path}`);
      }),
    );
};
