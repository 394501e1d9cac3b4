import { convertWeights } from "../../operations/convert/convert.ts";
import { parseRenameRule, type RenameRule } from "../../operations/convert/rename.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { outputPath } from "../options.ts";

interface ConvertFlags {
  readonly out?: string;
  readonly method?: string;
  readonly rename: readonly RenameRule[];
}

/** `tare convert`: weights in another container. */
export const convert: DefineCommand = (program, act) => {
  program
    .command("convert")
    .summary("write weights as another container")
    .description(
      "Write the weights of a file (or of a model of the store, or of a URL) as .safetensors, .gguf, .irpa, .params, .ptd, .pt, .pth\n" +
        "or .npz, by the ending of the new file; one weight as .npy; or a new folder for MLC and WebLLM, by a new file\n" +
        "that is called tensor-cache.json (ndarray-cache.json for older ones). Dtypes and shapes stay exactly, names too\n" +
        "unless a rule changes them; what the container cannot hold is refused by name. A program does not go with its\n" +
        "weights: a .gguf written so has no metadata of a model. Nothing is stored.",
    )
    .argument("<in>", "a model of the store, a file or folder in any format, or an https: URL")
    .argument("[out]", "the same as --out")
    .option("--out <file>", "the file to write")
    .option("--method <name>", "the weights of this method only")
    .option(
      "--rename <rule>",
      'PATTERN=NAME, such as "model.*=*"; may be repeated, the first that takes a name counts',
      (text: string, all: readonly RenameRule[]) => [...all, parseRenameRule(text)],
      [],
    )
    .addHelpText(
      "after",
      examples(
        "tare convert checkpoint.pt --out checkpoint.safetensors",
        "tare convert base weights.irpa --rename 'm.*=*'",
        "tare convert base dist/tensor-cache.json",
      ),
    )
    .action(
      act(async (context, from: string, path: string | undefined, flags: ConvertFlags) => {
        const out = outputPath(path, flags.out);
        const { method, rename } = flags;
        const store = await context.openStore();
        const { signal } = context;
        const result = await context.withProgress(`converting ${from}`, async (onProgress) => {
          await using weights = await store.openWeights(from, { method, constants: true, signal });
          return await convertWeights(weights, out, { rename, signal, onProgress });
        });
        context.print(
          result,
          () => `converted ${from}: ${result.weights} weights, ${bytes(result.size)} to ${result.path}`,
        );
      }),
    );
};
