import type { MergeResult } from "../../operations/merge.ts";
import { parseNameMapping } from "../../lora/mapping.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { number, parseAdapter, readJsonFile } from "../options.ts";
import { merge as mergeModels } from "../../operations/merge.ts";

interface MergeFlags {
  readonly as: string;
  readonly scale?: string;
  readonly map?: string;
  readonly replace?: boolean;
}

/** `tare merge`: LoRAs into a model, as a new one. */
export const merge: DefineCommand = (program, act) => {
  program
    .command("merge")
    .summary("merge LoRA adapters into a model, as a new one")
    .description(
      "Merge LoRA adapters of the store (GGUF adapters, folders that PEFT saved, files of diffusers or kohya) into a model, ahead of time. The new\n" +
        "model shares every weight that they do not touch, runs at full speed, and exports like any other. Several\n" +
        "adapters are added up in the order given, each with its own scale: NAME:SCALE.",
    )
    .argument("<base>")
    .argument("<lora...>", "adapters, each NAME or NAME:SCALE")
    .requiredOption("--as <name>", "the new model's name")
    .option("--scale <number>", "how much of each adapter that has no scale of its own; 1 unless given")
    .option("--map <file>", 'JSON of names that differ: {"name in the LoRA": "name in the base"}')
    .option("--replace", "give the name to this model though another has it")
    .addHelpText(
      "after",
      examples(
        "tare merge base fortune --as base-fortune",
        "tare merge base fortune --scale 0.5 --as half-fortune",
        "tare merge base fortune:0.7 proverbs:0.3 --as mixed",
      ),
    )
    .action(
      act(async (context, base: string, adapters: string[], flags: MergeFlags) => {
        const common = number("--scale", flags.scale);
        const loras = adapters.map((text) => {
          const { model, scale } = parseAdapter(text);
          return { model, scale: model === text ? common : scale };
        });
        const map =
          flags.map === undefined ? undefined : parseNameMapping(await readJsonFile(flags.map), flags.map);
        const store = await context.openStore();
        const { as, replace } = flags;
        const result = await context.withProgress(`merging ${as}`, (onProgress) =>
          mergeModels(store, base, loras, { as, replace, map, signal: context.signal, onProgress }),
        );
        context.print(result, () => describe(result));
      }),
    );
};

function describe({ name, base, weights, newBytes, sharedBytes, errorBound, notes }: MergeResult): string {
  const news = newBytes === 0 ? "all there already" : `${bytes(newBytes)} new`;
  const shared = `${bytes(sharedBytes)} shared with ${base}`;
  const off =
    errorBound === 0 ? "" : `\nquantized again: values are off by at most ${errorBound.toPrecision(3)}`;
  const more = notes.map((note) => `\nnote: ${note}`).join("");
  return `merged ${name}: ${weights} weights touched, ${news}, ${shared}${off}${more}`;
}
