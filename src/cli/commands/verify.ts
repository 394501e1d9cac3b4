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
        "recorded size, and was not written to since it was hashed. With --full, tare hashes every byte. The exit code is\n" +
        "1 if there is a problem.",
    )
    .option("--full", "hash every byte of every blob")
    .addHelpText("after", examples("tare verify", "tare verify --full --json"))
    .action(
      act(async (context, flags: { readonly full?: boolean }) => {
        const store = await context.openStore({ create: false });
        const result = await context.withProgress("verifying", (onProgress) =>
          store.verify({ full: flags.full, signal: context.signal, onProgress }),
        );
        const { problems } = result;
        context.print(result, () => {
          const checked = `${result.models} models, ${result.blobs} blobs, ${bytes(result.bytes)}`;
          if (problems.length === 0) return `intact: ${checked}${flags.full ? ", every byte hashed" : ""}`;
          const lines = problems.map(
            ({ model, error }) =>
              `${printableLine(`${model}: ${error.message}`)}${error.hint ? `\n  hint: ${printableLine(error.hint)}` : ""}`,
          );
          return [`${problems.length} problems in ${checked}`, ...lines].join("\n");
        });
        return problems.length === 0 ? 0 : 1;
      }),
    );
};
