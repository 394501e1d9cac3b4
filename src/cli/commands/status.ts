import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";

/** `tare status`: shows disk use. */
export const status: DefineCommand = (program, act) => {
  program
    .command("status")
    .summary("show disk use: as stored, and as separate files")
    .description(
      "Show the folder of the store, its size, and the size of its models as separate files. 'unused' is the size of\n" +
        "blobs that no model uses. 'compiled', 'prepacked' and 'folded' are caches of the engine: programs, prepacked\n" +
        "weights, and constants computed from weights; tare gc --cache removes them.",
    )
    .addHelpText("after", examples("tare status", "tare status --json"))
    .action(
      act(async (context) => {
        const store = await context.openStore({ create: false });
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
              "prepacked",
              `${bytes(result.prepackedBytes)}${result.prepackedBytes > 0 ? ", weights included" : ""}`,
            ],
            ["folded", `${bytes(result.foldedBytes)}${result.foldedBytes > 0 ? ", from weights" : ""}`],
            ...result.unfinished.map((path) => ["unfinished", `${path}: tare add --move continues`]),
          ]),
        );
      }),
    );
};
