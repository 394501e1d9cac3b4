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

/** `tare convert`: writes weights in another container format. */
export const convert: DefineCommand = (program, act) => {
  program
    .command("convert")
    .summary("write weights in another container format")
    .description(
      "Write weights in another container format. The extension of the new file selects the format: .safetensors, .gguf,\n" +
        ".irpa, .params, .ptd, .pt, .pth or .npz; .npy for a single weight. A new file called tensor-cache.json makes a\n" +
        "folder for MLC and WebLLM (ndarray-cache.json for their older versions).\n\n" +
        "Dtypes, shapes and bytes stay the same; names too, unless a --rename rule changes them. A weight that the format\n" +
        "cannot hold is an error. Only weights are written, no program: a .gguf file has no model metadata. The store\n" +
        "does not change.",
    )
    .argument("<in>", "a model of the store, a file or folder in any format, or an http(s) URL")
    .argument("[out]", "the same as --out")
    .option("--out <file>", "path of the new file")
    .option("--method <name>", "write only the weights of this method")
    .option(
      "--rename <rule>",
      'PATTERN=NAME, such as "model.*=*"; may be repeated, and the first rule that matches a name applies',
      (text: string, all: readonly RenameRule[]) => [...all, parseRenameRule(text)],
      [],
    )
    .addHelpText(
      "after",
      examples(
        "tare convert checkpoint.pt --out checkpoint.safetensors",
        "tare convert base weights.irpa --method decoder --rename 'm.*=*'",
        "tare convert base dist/tensor-cache.json --method decoder",
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
