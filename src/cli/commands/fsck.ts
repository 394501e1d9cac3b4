import { type DefineCommand, examples } from "../command.ts";

/** `tare fsck`: makes the names of a store again. */
export const fsck: DefineCommand = (program, act) => {
  program
    .command("fsck")
    .summary("make a lost index of the store again, and say what is missing")
    .description(
      "Check the names of the store, and then every model as tare verify does. If index.json is lost, damaged or lists no\n" +
        "model, make it again from the manifests among the blobs; models that were removed and not collected come back.\n" +
        "A model whose name is unknown becomes recovered-DIGEST. The exit code is 1 if something is missing or damaged.",
    )
    .addHelpText("after", examples("tare fsck", "tare fsck --store models --json"))
    .action(
      act(async (context) => {
        const { fsck: check } = await import("../../local-store/fsck.ts");
        const result = await check(context.storePath, { signal: context.signal });
        const { rebuilt, models, problems, left } = result;
        context.print(result, () => {
          const lines = [
            rebuilt
              ? `index.json was made again with ${models.length} models: ${models.map(({ name }) => name).join(", ")}`
              : `index.json is readable and lists ${models.length} models`,
            ...left.map((digest) => `no name for manifest ${digest}: its blobs are not complete`),
            ...problems.map(
              ({ model, error }) =>
                `${model}: ${error.message}${error.hint ? `\n  hint: ${error.hint}` : ""}`,
            ),
          ];
          return lines.join("\n");
        });
        return problems.length + left.length === 0 ? 0 : 1;
      }),
    );
};
