import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";

/** `tare rm`: names out of the store. */
export const rm: DefineCommand = (program, act) => {
  program
    .command("rm")
    .alias("remove")
    .summary("remove models")
    .description("Remove models from the store. Their weights stay until tare gc, or go at once with --gc.")
    .argument("<model...>")
    .option("--gc", "free what no model uses any more")
    .addHelpText("after", examples("tare rm old-fine-tune", "tare rm a b c --gc"))
    .action(
      act(async (context, models: string[], flags: { readonly gc?: boolean }) => {
        const store = await context.openStore();
        await store.remove(models);
        const freed = flags.gc ? await store.gc() : undefined;
        context.print({ removed: models, freed }, () => {
          const after = freed ? `freed ${bytes(freed.bytes)}` : "tare gc frees what no model uses";
          return `removed ${models.join(", ")}; ${after}`;
        });
      }),
    );
};
