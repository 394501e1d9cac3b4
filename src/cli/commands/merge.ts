import type { MergeResult } from "../../operations/merge.ts";
import { parseNameMapping } from "../../lora/mapping.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { printableLine } from "../printable.ts";
import { number, parseAdapter, readJsonFile } from "../options.ts";
import { merge as mergeModels } from "../../operations/merge.ts";

interface MergeFlags {
  readonly as: string;
  readonly scale?: string;
  readonly map?: string;
  readonly replace?: boolean;
}

/** `tare merge`: merges LoRA adapters into a model, as a new model. */
export const merge: DefineCommand = (program, act) => {
  program
    .command("merge")
    .summary("merge LoRA adapters into a model, as a new model")
    .description(
      "Merge LoRA adapters into a model, as a new model. The adapters are models of the store: GGUF adapters, folders that\n" +
        "PEFT saved, or files of diffusers or kohya. The new model shares every weight that the adapters do not change,\n" +
        "runs as fast as its base, and can be exported like any model. Several adapters are added in the given order,\n" +
        "each with its scale.",
    )
    .argument("<base>", "a model of the store")
    .argument("<lora...>", "adapters of the store, each NAME or NAME:SCALE")
    .requiredOption("--as <name>", "name of the new model")
    .option("--scale <number>", "scale of the adapters that are given without one (default: 1)")
    .option("--map <file>", 'JSON of names that differ: {"name in the LoRA": "name in the base"}')
    .option("--replace", "take the name even if another model has it")
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
  const news = newBytes === 0 ? "all already stored" : `${bytes(newBytes)} new`;
  const shared = `${bytes(sharedBytes)} shared with ${base}`;
  const error =
    errorBound === 0 ? "" : `\nquantized again: the error of a value is at most ${errorBound.toPrecision(3)}`;
  const more = notes.map((note) => `\nnote: ${printableLine(note)}`).join("");
  return `merged ${name}: ${weights} weights changed, ${news}, ${shared}${error}${more}`;
}
