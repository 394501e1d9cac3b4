import { UsageError } from "../../errors.ts";
import {
  externalize as externalizeFile,
  type ExternalRule,
} from "../../operations/executorch/externalize.ts";
import { parseSplitRule } from "../../operations/split/split-rules.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";

/** `tare externalize`: moves the weights of an ExecuTorch program to data files. */
export const externalize: DefineCommand = (program, act) => {
  const rules: ExternalRule[] = [];
  program
    .command("externalize")
    .summary("move an ExecuTorch program's weights to data files (.ptd)")
    .description(
      "Write an ExecuTorch program whose constants and named data are in data files (.ptd) beside it, as ExecuTorch's\n" +
        "exporter writes them. ExecuTorch's runtime loads the weights from the data files, and several programs can share\n" +
        "one data file. The original program stays unchanged, and no store is needed.\n\n" +
        "By default, all weights are written to MODEL.ptd. A rule is FILE=PATTERN, FILE=PATTERN@LAYERS or FILE=@LAYERS:\n" +
        "weights whose name matches PATTERN (* stands for any characters, ? for one), in LAYERS (7 or 20-31), are written\n" +
        "to FILE.ptd. The first rule that matches a weight applies; a weight that no rule matches stays in the program.",
    )
    .argument("<pte>", "the program, a .pte file")
    .requiredOption("--out <dir>", "the new folder")
    .option(
      "--rule <rule>",
      "write the weights that match to this file; may be repeated",
      (given: string) => {
        rules.push(parseRule(given));
      },
    )
    .addHelpText(
      "after",
      examples(
        "tare externalize model.pte --out separate",
        "tare externalize model.pte --rule 'adapter=*lora*' --rule 'foundation=*' --out separate",
      ),
    )
    .action(
      act(async (context, path: string, { out }: { readonly out: string }) => {
        const result = await context.withProgress("externalizing", (onProgress) =>
          externalizeFile(path, out, { rules, signal: context.signal, onProgress }),
        );
        context.print(result, () => {
          const rows = result.files.map(({ path: name, weights, size }) => [
            name,
            weights > 0 ? String(weights) : "",
            bytes(size),
          ]);
          return `${table([["FILE", "WEIGHTS", "SIZE"], ...rows], [1, 2])}\n\nwritten to ${result.path}`;
        });
      }),
    );
};

function parseRule(given: string): ExternalRule {
  const [, file, selected] = /^([^=]+)=(.+)$/s.exec(given) ?? [];
  if (file === undefined || selected === undefined) {
    throw new UsageError("usage", `Cannot use the rule "${given}"`, {
      hint: "Write FILE=PATTERN, such as 'adapter=*lora*'",
    });
  }
  const { names, layers } = parseSplitRule("adapter", selected);
  return { file, ...(names !== undefined && { names }), ...(layers !== undefined && { layers }) };
}
