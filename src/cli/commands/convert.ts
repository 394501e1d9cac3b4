import { convertWeights, type ConvertResult } from "../../operations/convert/convert.ts";
import { parseRenameRule, type RenameRule } from "../../operations/convert/rename.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { outputPath } from "../options.ts";

interface ConvertFlags {
  readonly out?: string;
  readonly method?: string;
  readonly rename: readonly RenameRule[];
  readonly skip: readonly string[];
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
        "unless a rule changes them. Compressed, big-endian and column-major arrays and views of tensors become plain\n" +
        "ones. What cannot be read, or the container cannot hold, is refused by name unless --skip leaves it out. A program\n" +
        "does not go with its weights: a .gguf written so has no metadata of a model. Nothing is stored.",
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
    .option(
      "--skip <pattern>",
      'tensors to leave out, such as "optimizer.*"; may be repeated, the result lists them',
      (text: string, all: readonly string[]) => [...all, text],
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
        const { method, rename, skip } = flags;
        const store = await context.openStore();
        const { signal } = context;
        const result = await context.withProgress(`converting ${from}`, async (onProgress) => {
          await using weights = await store.openWeights(from, { method, constants: true, signal });
          return await convertWeights(weights, out, { rename, skip, signal, onProgress });
        });
        context.print(result, () => describe(from, result));
      }),
    );
};

function describe(from: string, { weights, size, path, skipped, notes }: ConvertResult): string {
  return [
    `converted ${from}: ${weights} weights, ${bytes(size)} to ${path}`,
    ...skipped.map(({ name, form }) => `  left out: ${name}${form === undefined ? "" : ` (${form})`}`),
    ...notes.map((note) => `  note: ${note}`),
  ].join("\n");
}
