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

/** `tare internalize`: moves the weights of data files into their ExecuTorch program. */
export const internalize: DefineCommand = (program, act) => {
  program
    .command("internalize")
    .summary("move the weights of data files (.ptd) into their ExecuTorch program")
    .description(
      "Write an ExecuTorch program that contains the weights of its data files (.ptd). This reverses tare externalize.\n" +
        "If you give no data files, tare takes all data files of the folder PTE, or the data file with the program's\n" +
        "name.\n\n" +
        "Tensors become constants of the program. All other entries become named data, because a program does not list\n" +
        "the keys that its backends look up. --only PATTERN, PATTERN@LAYERS or @LAYERS selects the entries to move: *\n" +
        "stands for any characters of a name and ? for one; LAYERS is 7 or 20-31.",
    )
    .argument("<pte>", "the program (.pte), or a folder with one program and its data files")
    .argument("[ptd...]", "data files of the program")
    .requiredOption("--out <file>", "path of the new program")
    .option(
      "--only <pattern>",
      "move only weights whose names match; may be repeated",
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
  const moved = `moved ${constants.length} constants and ${named.length} entries of named data: ${bytes(size)} in ${path}`;
  return external.length > 0 ? `${moved}\nstill in data files: ${external.length}` : moved;
}
