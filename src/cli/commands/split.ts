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

/** `tare split`: files for devices that have no tare. */
export const split: DefineCommand = (program, act) => {
  // Rules count in the order in which they were given, of whichever kind.
  const rules: SplitRule[] = [];
  const collect = (part: SplitPart) => (given: string) => void rules.push(parseSplitRule(part, given));
  program
    .command("split")
    .summary("write models as one foundation and an adapter each, for devices without tare")
    .description(
      "Write models as ordinary files that need no tare: what all of them have alike is the foundation, what is left\n" +
        "of each is its adapter. Stock engines open them: GGUF as the two shards MODEL/MODEL-0000N-of-00002.gguf\n" +
        "(links), ONNX as MODEL.onnx over foundation.bin and adapter-MODEL.bin.\n\n" +
        "By default models are split along what really differs. A rule is PATTERN, PATTERN@LAYERS or @LAYERS; * stands\n" +
        "for any characters of a name, LAYERS is 7 or 20-31. The first rule that selects a weight counts. A rules file\n" +
        'is {"rules": [{"part": "adapter", "names": "*attn*", "layers": "20-31"}]}.',
    )
    .argument("<model...>")
    .option("--out <dir>", "the folder to make")
    .option(
      "--adapter <rule>",
      "what goes into the adapters though it is alike; may be repeated",
      collect("adapter"),
    )
    .option("--foundation <rule>", "what stays in the foundation; may be repeated", collect("foundation"))
    .option("--rules <file>", "rules from a JSON file, after those given here")
    .option("--since <dir>", "an earlier split: keep its foundation, and say what an update ships")
    .option("--dry-run", "print the plan and its bytes, and write nothing")
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
            hint: "add --out DIR, or --dry-run",
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
  const head = ["FILE", "FOR", "WEIGHTS", "SIZE", ...(shipBytes === undefined ? [] : ["UPDATE"])];
  const originals = files.filter((file) => file.kind === "original");
  const shown = files.filter((file) => file.kind !== "original");
  const kept = originals.reduce((sum, file) => sum + file.size, 0);
  const facts = [
    ["as separate files", bytes(fileBytes)],
    ["split", bytes(splitBytes)],
    ...(repeatedBytes > 0 ? [["repeated", `${bytes(repeatedBytes)} in several adapters`]] : []),
    ...(kept > 0 ? [["originals", `${bytes(kept)} for tare join; engines need none of it`]] : []),
    ...(shipBytes === undefined ? [] : [["update", `${bytes(shipBytes)} to ship`]]),
    [path === undefined ? "planned" : "written", path ?? "nothing was written (--dry-run)"],
  ];
  return `${table([head, ...shown.map(row)], [2, 3])}\n\n${table(facts)}`;
}
