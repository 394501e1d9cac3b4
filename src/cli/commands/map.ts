import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { UsageError } from "../../errors.ts";
import { drawFamilyHtml } from "../../picture/html.ts";
import { drawFamilySvg } from "../../picture/svg.ts";
import { type DefineCommand, examples } from "../command.ts";
import { familyMap } from "../../operations/family-map.ts";

/** `tare map`: draws models and the weights that they share. */
export const map: DefineCommand = (program, act) => {
  program
    .command("map")
    .summary("draw which models share which weights")
    .description(
      "Draw models and their weights, with sizes: which weights are shared, and which belong to one model. The extension\n" +
        "of the file selects .html (a page that shows details of the weight under the pointer) or .svg (an image).\n" +
        "Either file needs no other file.",
    )
    .argument("[model...]", "models of the store (default: all)")
    .option("--out <path>", "path of the file", "tare-map.html")
    .addHelpText("after", examples("tare map", "tare map base fine-tune --out family.svg", "tare map --json"))
    .action(
      act(async (context, models: string[], flags: { readonly out: string }) => {
        const svg = flags.out.endsWith(".svg");
        if (!svg && !/\.html?$/.test(flags.out)) {
          throw new UsageError("usage", `Cannot draw to "${flags.out}": its name must end in .html or .svg`);
        }
        const store = await context.openStore({ create: false });
        const family = await familyMap(store, models);
        const path = resolve(flags.out);
        await writeFile(path, svg ? drawFamilySvg(family) : drawFamilyHtml(family));
        context.print({ path, ...family }, () => `drawn: ${pathToFileURL(path).href}`);
      }),
    );
};
