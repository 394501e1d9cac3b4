import { readFile } from "node:fs/promises";
import { parseStrictJson } from "../../encodings/json.ts";
import { UsageError } from "../../errors.ts";
import type { SplitFileInfo, SplitResult } from "../../operations/split/split.ts";
import {
  parseSplitRule,
  parseSplitRules,
  type SplitPart,
  type SplitRule,
} from "../../operations/split/split-rules.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";
import { split as splitModels } from "../../operations/split/split.ts";

interface SplitFlags {
  readonly out?: string;
  readonly rules?: string;
  readonly since?: string;
  readonly dryRun?: boolean;
}

/** `tare split`: writes models as files for devices without tare. */
export const split: DefineCommand = (program, act) => {
  // --adapter and --foundation share one list: the order of rules decides.
  const rules: SplitRule[] = [];
  const collect = (part: SplitPart) => (given: string) => void rules.push(parseSplitRule(part, given));
  program
    .command("split")
    .summary("write models as one shared foundation and an adapter each, for devices without tare")
    .description(
      "Write models as files that devices use without tare. The foundation file has the weights that all the models\n" +
        "share; each model has an adapter file with its other weights. Unmodified engines open the files: GGUF models as\n" +
        "the two shards MODEL/MODEL-0000N-of-00002.gguf (links), ONNX models as MODEL.onnx with foundation.bin and\n" +
        "adapter-MODEL.bin as external data.\n\n" +
        "By default, the weights that differ go into the adapters. Rules change that. A rule is PATTERN, PATTERN@LAYERS\n" +
        "or @LAYERS: * stands for any characters of a name and ? for one; LAYERS is 7 or 20-31. The first rule that\n" +
        'matches a weight applies. A rules file is {"rules": [{"part": "adapter", "names": "*attn*", "layers": "20-31"}]}.',
    )
    .argument("<model...>", "models of the store")
    .option("--out <dir>", "the new folder")
    .option(
      "--adapter <rule>",
      "put matching weights into the adapters even if they are equal; may be repeated",
      collect("adapter"),
    )
    .option(
      "--foundation <rule>",
      "keep matching weights in the foundation; may be repeated",
      collect("foundation"),
    )
    .option("--rules <file>", "read more rules from a JSON file; they come after those of the command line")
    .option(
      "--since <dir>",
      "keep the foundation of this earlier split, and print which files an update ships",
    )
    .option("--dry-run", "print the files and their sizes, and write nothing")
    .addHelpText(
      "after",
      examples(
        "tare split base kjv licence --out dist",
        "tare split base kjv --dry-run",
        "tare split writer --adapter '*attn*@20-31' --out dist",
        "tare split base kjv-2 --since dist --out dist-2",
      ),
    )
    .action(
      act(async (context, models: string[], flags: SplitFlags) => {
        if (flags.out === undefined && !flags.dryRun) {
          throw new UsageError("usage", "Cannot split without a folder", {
            hint: "Add --out DIR, or --dry-run",
          });
        }
        if (flags.rules !== undefined) rules.push(...(await readRules(flags.rules)));
        const store = await context.openStore();
        const result = await context.withProgress("splitting", (onProgress) =>
          splitModels(store, models, flags.dryRun ? undefined : flags.out, {
            rules,
            since: flags.since,
            signal: context.signal,
            onProgress,
          }),
        );
        context.print(result, () => describe(result));
      }),
    );
};

async function readRules(path: string): Promise<SplitRule[]> {
  return parseSplitRules(parseStrictJson(await readFile(path, "utf8"), path), path);
}

function describe(result: SplitResult): string {
  const { files, fileBytes, splitBytes, repeatedBytes, shipBytes, path } = result;
  const row = ({ path: name, models, weights, size, ships }: SplitFileInfo): string[] => [
    name,
    models.join(", "),
    weights > 0 ? String(weights) : "",
    bytes(size),
    ...(ships === undefined ? [] : [ships ? "ships" : "unchanged"]),
  ];
  const header = ["FILE", "FOR", "WEIGHTS", "SIZE", ...(shipBytes === undefined ? [] : ["UPDATE"])];
  const originals = files.filter((file) => file.kind === "original");
  const shown = files.filter((file) => file.kind !== "original");
  const kept = originals.reduce((sum, file) => sum + file.size, 0);
  const facts = [
    ["as separate files", bytes(fileBytes)],
    ["split", bytes(splitBytes)],
    ...(repeatedBytes > 0 ? [["repeated", `${bytes(repeatedBytes)} in several adapters`]] : []),
    ...(kept > 0 ? [["originals", `${bytes(kept)} for tare join; engines do not need these files`]] : []),
    ...(shipBytes === undefined ? [] : [["update", `${bytes(shipBytes)} to ship`]]),
    [path === undefined ? "planned" : "written", path ?? "nothing was written (--dry-run)"],
  ];
  return `${table([header, ...shown.map(row)], [2, 3])}\n\n${table(facts)}`;
}
