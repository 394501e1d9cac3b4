import {
  internalize as internalizeFiles,
  type InternalizeResult,
  type InternalRule,
} from "../../operations/executorch/internalize.ts";
import { parseSplitRule } from "../../operations/split/split-rules.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";

interface InternalizeFlags {
  readonly out: string;
  readonly only: readonly InternalRule[];
}

/** `tare internalize`: an ExecuTorch program's weights, from data files into the program. */
export const internalize: DefineCommand = (program, act) => {
  program
    .command("internalize")
    .summary("move the weights of data files (.ptd) into their ExecuTorch program")
    .description(
      "Write an ExecuTorch program with the weights inside that it has in data files: the way back of tare\n" +
        "externalize. Without data files, those of the folder are meant, or the one that is named as the program.\n\n" +
        "Tensors become constants. All else that the data files have becomes named data, since nothing says which keys\n" +
        "backends look up; --only PATTERN, PATTERN@LAYERS or @LAYERS selects what goes in, as for tare split.",
    )
    .argument("<pte>", "the program, a .pte file, or a folder with one and its data files")
    .argument("[ptd...]", "the data files that it is for")
    .requiredOption("--out <file>", "the file to write")
    .option(
      "--only <pattern>",
      "move only weights of these names; may be repeated",
      (given: string, all: readonly InternalRule[]) => {
        const { names, layers } = parseSplitRule("adapter", given);
        return [...all, { ...(names !== undefined && { names }), ...(layers !== undefined && { layers }) }];
      },
      [],
    )
    .addHelpText(
      "after",
      examples(
        "tare internalize separate --out whole.pte",
        "tare internalize first.pte first-adapter.ptd foundation.ptd --out whole.pte",
        "tare internalize first.pte first-adapter.ptd --only '*lora*' --out adapted.pte",
      ),
    )
    .action(
      act(async (context, path: string, data: readonly string[], { out, only }: InternalizeFlags) => {
        const result = await context.withProgress(`internalizing ${path}`, (onProgress) =>
          internalizeFiles(path, data, out, { only, signal: context.signal, onProgress }),
        );
        context.print(result, () => describe(result));
      }),
    );
};

function describe({ path, size, constants, named, external }: InternalizeResult): string {
  const moved = `moved in ${constants.length} constants and ${named.length} of named data: ${bytes(size)} in ${path}`;
  return external.length > 0 ? `${moved}\nin data files still: ${external.length}` : moved;
}
