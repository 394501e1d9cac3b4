import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";
import { loraText } from "../formatting.ts";

/** `tare ls`: the models of the store. */
export const ls: DefineCommand = (program, act) => {
  program
    .command("ls")
    .alias("list")
    .summary("list the models of the store")
    .description(
      "List the models: size as files, and how much of their weights is shared with others or their own, and\n" +
        "which models an adapter is for.",
    )
    .addHelpText("after", examples("tare ls", "tare ls --json"))
    .action(
      act(async (context) => {
        const store = await context.openStore();
        const models = await store.list();
        context.print(models, () => {
          if (models.length === 0) return "the store is empty: tare add FILES";
          const rows = models.map((model) => {
            const { name, format, methods, fileBytes, sharedBytes, ownBytes, digest, lora } = model;
            const cells = [bytes(fileBytes), bytes(sharedBytes), bytes(ownBytes)];
            const what = lora ? loraText(lora) : methods.join(", ");
            return [name, ...cells, digest.slice(7, 19), format, what];
          });
          return table(
            [["NAME", "FILES", "SHARED", "OWN", "DIGEST", "FORMAT", "METHODS"], ...rows],
            [1, 2, 3],
          );
        });
      }),
    );
};
