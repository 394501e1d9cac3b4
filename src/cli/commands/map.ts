import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { UsageError } from "../../errors.ts";
import { drawFamilyHtml } from "../../picture/html.ts";
import { drawFamilySvg } from "../../picture/svg.ts";
import { type DefineCommand, examples } from "../command.ts";
import { familyMap } from "../../operations/family-map.ts";

/** `tare map`: a picture of the family. */
export const map: DefineCommand = (program, act) => {
  program
    .command("map")
    .summary("draw the family: models × weights, shared and own")
    .description(
      "Draw a picture of models and their weights: what is shared, what is whose own, and the bytes.\n" +
        "The file ends in .html (a page with details under the pointer) or .svg; either needs no other file.",
    )
    .argument("[model...]", "all models unless named")
    .option("--out <path>", "where to write", "tare-map.html")
    .addHelpText("after", examples("tare map", "tare map base fine-tune --out family.svg", "tare map --json"))
    .action(
      act(async (context, models: string[], flags: { readonly out: string }) => {
        const svg = flags.out.endsWith(".svg");
        if (!svg && !/\.html?$/.test(flags.out)) {
          throw new UsageError("usage", `Cannot draw "${flags.out}": its name must end in .html or .svg`);
        }
        const store = await context.openStore();
        const family = await familyMap(store, models);
        const path = resolve(flags.out);
        await writeFile(path, svg ? drawFamilySvg(family) : drawFamilyHtml(family));
        context.print({ path, ...family }, () => `drawn: ${pathToFileURL(path).href}`);
      }),
    );
};
