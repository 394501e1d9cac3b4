import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";

/** `tare status`: disk use. */
export const status: DefineCommand = (program, act) => {
  program
    .command("status")
    .summary("show disk use: as stored, and as separate files")
    .description("Show where the store is, what it takes, and what its models would take as separate files.")
    .addHelpText("after", examples("tare status", "tare status --json"))
    .action(
      act(async (context) => {
        const store = await context.openStore();
        const result = await store.status();
        const saved =
          result.fileBytes > 0 ? Math.round((1 - result.storedBytes / result.fileBytes) * 100) : 0;
        context.print(result, () =>
          table([
            ["store", result.root],
            ["models", `${result.models} in ${result.blobs} blobs`],
            ["as files", bytes(result.fileBytes)],
            ["stored", `${bytes(result.storedBytes)}${saved > 0 ? ` (${saved} % less)` : ""}`],
            ["unused", `${bytes(result.unusedBytes)}${result.unusedBytes > 0 ? ": tare gc frees it" : ""}`],
            ["compiled", bytes(result.cacheBytes)],
            [
              "packed",
              `${bytes(result.prepackedBytes)}${result.prepackedBytes > 0 ? ", weights included" : ""}`,
            ],
            ["derived", `${bytes(result.foldedBytes)}${result.foldedBytes > 0 ? ", from weights" : ""}`],
            ...result.unfinished.map((path) => ["unfinished", `${path}: tare add --move goes on`]),
          ]),
        );
      }),
    );
};
