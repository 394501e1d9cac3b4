import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";

/** `tare gc`: removes blobs that no model uses. */
export const gc: DefineCommand = (program, act) => {
  program
    .command("gc")
    .summary("remove stored bytes that no model uses")
    .description(
      "Remove blobs that no model uses, and the files that an interrupted tare add left. Running it while other\n" +
        "processes add models is safe.",
    )
    .option("--dry-run", "print what would be removed, and remove nothing")
    .option(
      "--cache",
      "also remove compiled programs, prepacked weights and folded constants; tare makes them again when needed",
    )
    .addHelpText("after", examples("tare gc --dry-run", "tare gc"))
    .action(
      act(async (context, flags: { readonly dryRun?: boolean; readonly cache?: boolean }) => {
        const store = await context.openStore({ create: false });
        const result = await store.gc(flags);
        const word = flags.dryRun ? "would free" : "freed";
        context.print(
          { ...result, dryRun: flags.dryRun ?? false },
          () => `${word} ${bytes(result.bytes)} in ${result.blobs} blobs`,
        );
      }),
    );
};
