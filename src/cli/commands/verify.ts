import { type DefineCommand, examples } from "../command.ts";
import { bytes } from "../context.ts";

/** `tare verify`: whether the store is whole. */
export const verify: DefineCommand = (program, act) => {
  program
    .command("verify")
    .summary("check that every model is whole")
    .description(
      "Check every model: its manifest and tables are hashed, and its blobs must be there, of their size, and not\n" +
        "written since they were hashed. With --full every byte is hashed. Exit code 1 if anything is wrong.",
    )
    .option("--full", "hash every byte")
    .addHelpText("after", examples("tare verify", "tare verify --full --json"))
    .action(
      act(async (context, flags: { readonly full?: boolean }) => {
        const store = await context.openStore();
        const result = await context.withProgress("verifying", (onProgress) =>
          store.verify({ full: flags.full, signal: context.signal, onProgress }),
        );
        const { problems } = result;
        context.print(result, () => {
          const checked = `${result.models} models, ${result.blobs} blobs, ${bytes(result.bytes)}`;
          if (problems.length === 0) return `whole: ${checked}${flags.full ? ", every byte hashed" : ""}`;
          const lines = problems.map(
            ({ model, error }) => `${model}: ${error.message}${error.hint ? `\n  hint: ${error.hint}` : ""}`,
          );
          return [`${problems.length} problems in ${checked}`, ...lines].join("\n");
        });
        return problems.length === 0 ? 0 : 1;
      }),
    );
};
