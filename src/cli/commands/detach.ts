import { UsageError } from "../../errors.ts";
import { detachInPlace, type DetachResult } from "../../operations/mlir/detach.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { printableLine } from "../printable.ts";
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

/** `tare detach`: writes an MLIR program without its weights. */
export const detach: DefineCommand = (program, act) => {
  program
    .command("detach")
    .summary("write an MLIR program without its weights: a thin file, quick to compile")
    .description(
      "Write a thin MLIR file (bytecode or text): the program without the bytes of its dense_resource attributes. The\n" +
        "weights are added to the store; with --in-place they stay in the original file, and the store does not change.\n" +
        "The thin file records where its weights are, and keeps that record through compiler passes. After the passes,\n" +
        "tare attach writes the weights into the file again.",
    )
    .argument("<file>", "an MLIR file with weights")
    .option("--out <thin>", "path of the thin file")
    .option("--as <name>", "name of the weights in the store (default: the name of the file)")
    .option("--replace", "take the name even if another model has it")
    .option("--in-place", "leave the weights in their file; read only headers, and store nothing")
    .option("--hash", "with --in-place: hash every weight, so that tare attach can check it")
    .option(
      "--extern",
      "for text files: declare globals without a value (ml_program.extern) instead of naming resources",
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
          const [unfit, reason] = inPlace
            ? ["--as or --replace with --in-place", "the store keeps nothing"]
            : ["--hash without --in-place", "the store hashes every weight"];
          throw new UsageError("usage", `Cannot use ${unfit}: ${reason}`);
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
  const where = added ? `in the store as ${added.name}, ${bytes(added.newBytes)} new` : `still in ${file}`;
  return [
    `detached ${file}: ${bytes(fileBytes)}, thin ${bytes(thinBytes)} in ${path}`,
    `${weights} weights, ${bytes(weightBytes)}: ${where}`,
    ...notes.map((note) => `note: ${printableLine(note)}`),
  ].join("\n");
}
