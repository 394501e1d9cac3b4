import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";

/** `tare rm`: removes models from the store. */
export const rm: DefineCommand = (program, act) => {
  program
    .command("rm")
    .alias("remove")
    .summary("remove models")
    .description(
      "Remove models from the store. Their weights stay on disk until tare gc removes those that no model uses; with\n" +
        "--gc that happens at once.",
    )
    .argument("<model...>", "models of the store")
    .option("--gc", "also remove the weights that no model uses any more")
    .addHelpText("after", examples("tare rm old-fine-tune", "tare rm a b c --gc"))
    .action(
      act(async (context, models: string[], flags: { readonly gc?: boolean }) => {
        const store = await context.openStore({ create: false });
        await store.remove(models);
        const freed = flags.gc ? await store.gc() : undefined;
        context.print({ removed: models, freed }, () => {
          const after = freed
            ? `freed ${bytes(freed.bytes)}`
            : "tare gc frees the weights that no model uses";
          return `removed ${models.join(", ")}; ${after}`;
        });
      }),
    );
};
