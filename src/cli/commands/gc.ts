import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";

/** `tare gc`: what no model uses. */
export const gc: DefineCommand = (program, act) => {
  program
    .command("gc")
    .summary("free what no model uses")
    .description(
      "Remove blobs that no model uses, and what an interrupted add left. Safe beside running adds.",
    )
    .option("--dry-run", "only say what would go")
    .option("--cache", "drop compiled programs and packed weights too; they are made again when needed")
    .addHelpText("after", examples("tare gc --dry-run", "tare gc"))
    .action(
      act(async (context, flags: { readonly dryRun?: boolean; readonly cache?: boolean }) => {
        const store = await context.openStore();
        const result = await store.gc(flags);
        const word = flags.dryRun ? "would free" : "freed";
        context.print(
          { ...result, dryRun: flags.dryRun ?? false },
          () => `${word} ${bytes(result.bytes)} in ${result.blobs} blobs`,
        );
      }),
    );
};
