import {
  attach as attachWeights,
  type AttachResult,
  listResources,
  type ResourceInfo,
} from "../../operations/mlir/attach.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, table } from "../context.ts";
import { shortDigest } from "../formatting.ts";
import { printableLine } from "../printable.ts";
import type { TareStore } from "../../tare-store.ts";
import { outputPath } from "../options.ts";

interface AttachFlags {
  readonly out?: string;
  readonly from?: string;
  readonly list?: boolean;
  readonly verify?: boolean;
}

/** `tare attach`: writes a thin MLIR file with its weights. */
export const attach: DefineCommand = (program, act) => {
  program
    .command("attach")
    .summary("write a thin MLIR file with its weights, also after compiler passes")
    .description(
      "Write a thin MLIR file (bytecode or text) with its weights, in one sequential pass. The thin file records where\n" +
        "its weights are; --from takes weights by name from another place. Compiler passes may have changed the file\n" +
        "since tare detach wrote it. Weights that the program no longer uses are listed. A weight that is missing, or\n" +
        "has another size or type, is an error.",
    )
    .argument("<thin>", "a file that tare detach wrote, or that passes wrote from such a file")
    .option("--out <full>", "path of the new file")
    .option(
      "--from <weights>",
      "take the weights from a model of the store, a file or folder in any format, or an http(s) URL",
    )
    .option("--list", "write nothing; list the resources and where the bytes of each are")
    .option("--verify", "write nothing; list the resources and check every weight against its digest")
    .addHelpText(
      "after",
      examples(
        "tare attach lowered.mlirbc --out full.mlirbc",
        "tare attach thin.mlir --out full.mlir --from fine-tune.safetensors",
        "tare attach thin.mlirbc --list",
      ),
    )
    .action(
      act(async (context, thin: string, flags: AttachFlags) => {
        const openStore = async (): Promise<TareStore> => context.openStore();
        const { from, list, verify } = flags;
        const { signal } = context;
        if (list || verify) {
          const rows = await listResources(openStore, thin, { from, verify, signal });
          context.print(rows, () => describeAll(rows));
          return rows.some((row) => row.state === "missing") ? 1 : 0;
        }
        const out = outputPath(undefined, flags.out);
        const result = await context.withProgress(`attaching ${thin}`, (onProgress) =>
          attachWeights(openStore, thin, out, { from, signal, onProgress }),
        );
        context.print(result, () => describe(result));
        return 0;
      }),
    );
};

/** Number of unused weights whose names are shown. */
const MAX_SHOWN = 8;

function describe({ path, bytes: size, weights, weightBytes, unused, notes }: AttachResult): string {
  const names =
    unused.slice(0, MAX_SHOWN).map(printableLine).join(", ") + (unused.length > MAX_SHOWN ? ", …" : "");
  return [
    `attached ${weights} weights, ${bytes(weightBytes)}: ${bytes(size)} in ${path}`,
    ...(unused.length > 0 ? [`unused: ${unused.length} (${names})`] : []),
    ...notes.map((note) => `note: ${printableLine(note)}`),
  ].join("\n");
}

function describeAll(rows: readonly ResourceInfo[]): string {
  if (rows.length === 0) return "the program has no dense_resource attributes";
  const cells = rows.map(({ key, type, bytes: size, digest, state, where }) => [
    key,
    type ?? "",
    size === undefined ? "" : bytes(size),
    digest === undefined ? "" : shortDigest(digest),
    state,
    where ?? "",
  ]);
  return table([["RESOURCE", "TYPE", "SIZE", "DIGEST", "STATE", "WHERE"], ...cells], [2]);
}
