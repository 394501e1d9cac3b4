import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";
import { loraText } from "../formatting.ts";

/** `tare ls`: lists the models of the store. */
export const ls: DefineCommand = (program, act) => {
  program
    .command("ls")
    .alias("list")
    .summary("list the models of the store")
    .description(
      "List the models of the store. FILES is the size of the original files; SHARED is the size of the weights that\n" +
        "another model of the store also has; OWN is the size of the other weights. For a LoRA adapter, METHODS names\n" +
        "the models that it fits. A model that cannot be read is listed as damaged.",
    )
    .addHelpText("after", examples("tare ls", "tare ls --json"))
    .action(
      act(async (context) => {
        const store = await context.openStore({ create: false });
        const models = await store.list();
        context.print(models, () => {
          if (models.length === 0) return "the store is empty; add models with tare add PATH";
          const rows = models.map((model) => {
            if (model.damaged)
              return [model.name, "", "", "", model.digest.slice(7, 19), "damaged", model.damaged.message];
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
