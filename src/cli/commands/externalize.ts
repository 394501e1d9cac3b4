import { UsageError } from "../../errors.ts";
import {
  externalize as externalizeFile,
  type ExternalRule,
} from "../../operations/executorch/externalize.ts";
import { parseSplitRule } from "../../operations/split/split-rules.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";

/** `tare externalize`: an ExecuTorch program's weights, in data files. */
export const externalize: DefineCommand = (program, act) => {
  const rules: ExternalRule[] = [];
  program
    .command("externalize")
    .summary("move an ExecuTorch program's weights to data files (.ptd)")
    .description(
      "Write an ExecuTorch program with its constants and named data in data files beside it, as if it had been\n" +
        "exported so: ExecuTorch's own runtime takes them from there, and programs can share them. No store is needed.\n\n" +
        "By default all weights go to MODEL.ptd. A rule is FILE=PATTERN, FILE=PATTERN@LAYERS or FILE=@LAYERS, as for\n" +
        "tare split; the first that selects a weight counts, and what none selects stays in the program.",
    )
    .argument("<pte>", "the program, a .pte file")
    .requiredOption("--out <dir>", "the folder to make")
    .option("--rule <rule>", "which weights go to which file; may be repeated", (given: string) => {
      rules.push(parseRule(given));
    })
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
      hint: "a rule is FILE=PATTERN, such as 'adapter=*lora*'",
    });
  }
  const { names, layers } = parseSplitRule("adapter", selected);
  return { file, ...(names !== undefined && { names }), ...(layers !== undefined && { layers }) };
}
