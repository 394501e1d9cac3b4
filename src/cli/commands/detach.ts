import { UsageError } from "../../errors.ts";
import { detachInPlace, type DetachResult } from "../../operations/mlir/detach.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { outputPath } from "../options.ts";
import { detach as detachModel } from "../../operations/mlir/detach.ts";

interface DetachFlags {
  readonly out?: string;
  readonly as?: string;
  readonly replace?: boolean;
  readonly inPlace?: boolean;
  readonly hash?: boolean;
  readonly extern?: boolean;
}

/** `tare detach`: an MLIR program without its weights. */
export const detach: DefineCommand = (program, act) => {
  program
    .command("detach")
    .summary("take the weights out of an MLIR file: the thin program compiles anywhere")
    .description(
      "Write an MLIR file (bytecode or text) without the weights that dense_resource names. They go into the store, or\n" +
        "stay where they are with --in-place. The thin file says where they are, through whatever passes; tare attach\n" +
        "gives them back to what came of it.",
    )
    .argument("<file>")
    .option("--out <thin>", "where to write the thin file")
    .option("--as <name>", "the store's name for the weights; the file's name unless given")
    .option("--replace", "give the name to these weights though another model has it")
    .option("--in-place", "leave the weights where they are: only headers are read, nothing is stored")
    .option("--hash", "with --in-place: read every weight once, to know it again")
    .option(
      "--extern",
      "of a text: globals wait for their weights (ml_program.extern) instead of naming resources",
    )
    .addHelpText(
      "after",
      examples(
        "tare detach fat.mlirbc --out thin.mlirbc",
        "tare detach fat.mlir --out thin.mlir --as resnet",
        "tare detach fat.mlirbc --out thin.mlirbc --in-place",
      ),
    )
    .action(
      act(async (context, file: string, flags: DetachFlags) => {
        const out = outputPath(undefined, flags.out);
        const { as, replace, inPlace, hash, extern } = flags;
        if (inPlace ? (as ?? replace) !== undefined : hash) {
          throw new UsageError("usage", "--hash goes with --in-place, --as and --replace go without it");
        }
        const result = await context.withProgress(`detaching ${file}`, async (onProgress) => {
          const options = { extern, signal: context.signal, onProgress };
          if (inPlace) return await detachInPlace(file, out, { ...options, hash });
          const store = await context.openStore();
          return await detachModel(store, file, out, { ...options, as, replace });
        });
        context.print(result, () => describe(file, result));
      }),
    );
};

function describe(file: string, result: DetachResult): string {
  const { path, thinBytes, fileBytes, weights, weightBytes, added, notes } = result;
  const where = added ? `in the store as ${added.name}, ${bytes(added.newBytes)} new` : "where they were";
  return [
    `detached ${file}: ${bytes(fileBytes)}, thin ${bytes(thinBytes)} in ${path}`,
    `${weights} weights, ${bytes(weightBytes)}: ${where}`,
    ...notes.map((note) => `note: ${note}`),
  ].join("\n");
}
