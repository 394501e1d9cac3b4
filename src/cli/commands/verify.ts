import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";
import { printableLine } from "../printable.ts";

/** `tare verify`: checks the store for missing and damaged data. */
export const verify: DefineCommand = (program, act) => {
  program
    .command("verify")
    .summary("check that no model is damaged")
    .description(
      "Check every model of the store. tare hashes its manifest and tables, and checks that each blob exists, has the\n" +
        "recorded size, and was not written to since it was hashed. With --full, tare hashes every byte. With --repair, it\n" +
        "also takes damaged and missing blobs from files or folders of models, from other stores, or from files of blobs.\n" +
        "The exit code is 1 if a problem is left.",
    )
    .option("--full", "hash every byte of every blob")
    .option("--repair <from...>", "hash every byte, and replace damaged blobs by those of these places")
    .addHelpText(
      "after",
      examples("tare verify", "tare verify --full --json", "tare verify --repair backup/store models/base"),
    )
    .action(
      act(async (context, flags: { readonly full?: boolean; readonly repair?: string[] }) => {
        const store = await context.openStore({ create: false });
        const result = await context.withProgress("verifying", (onProgress) =>
          store.verify({ ...flags, signal: context.signal, onProgress }),
        );
        const { problems } = result;
        context.print(result, () => {
          const repaired = result.repaired > 0 ? [`repaired: ${result.repaired} blobs`] : [];
          const checked = `${result.models} models, ${result.blobs} blobs, ${bytes(result.bytes)}`;
          const hashed = flags.full || flags.repair ? ", every byte hashed" : "";
          if (problems.length === 0) return [...repaired, `intact: ${checked}${hashed}`].join("\n");
          const lines = problems.map(
            ({ model, error }) =>
              `${printableLine(`${model}: ${error.message}`)}${error.hint ? `\n  hint: ${printableLine(error.hint)}` : ""}`,
          );
          return [...repaired, `${problems.length} problems in ${checked}`, ...lines].join("\n");
        });
        return problems.length === 0 ? 0 : 1;
      }),
    );
};
