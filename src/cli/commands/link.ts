import { type DefineCommand, examples } from "../command.ts";
import type { TareStore } from "../../host/tare-store.ts";
import { bytes, type Context, table } from "../context.ts";
import { readMapping } from "./refit.ts";
import { outputPath } from "./export.ts";

interface LinkFlags {
  readonly out?: string;
  readonly copy?: boolean;
  readonly inPlace?: string;
  readonly method?: string;
  readonly map?: string;
}

/** `tare link`: a folder for engines that know nothing of tare. */
export const link: DefineCommand = (program, act) => {
  program
    .command("link")
    .summary("make a folder that stock engines open, over the store's weights")
    .description(
      "Make a folder with a model's programs and links to its weights: ordinary ONNX files with external data, or the\n" +
        "shards of a GGUF model. A safetensors file holds its weights itself: tare export writes it.\n" +
        "Reflinks or hard links take no space; where the file system can do neither, weights are copied, and that is\n" +
        "said. Hard-linked weights are read-only: they are the store's own.",
    )
    .argument("<model>")
    .argument("[dir]", "the same as --out")
    .option("--out <dir>", "the folder to make; with --in-place the program's file")
    .option(
      "--in-place <file>",
      "ONNX: use this checkpoint as external data, where it lies, beside the program",
    )
    .option("--method <name>", "with --in-place: the graph, where the model has several")
    .option("--map <file>", "with --in-place: names of the model → names of the checkpoint, as JSON")
    .option(
      "--copy",
      "copy what cannot be reflinked: Python's onnx.load refuses linked files, engines take them",
    )
    .addHelpText(
      "after",
      examples(
        "tare link base views/base",
        "tare link base --out views/base --json",
        "tare link base --in-place weights/tuned.safetensors --out weights/tuned.onnx",
      ),
    )
    .action(
      act(async (context, model: string, dir: string | undefined, flags: LinkFlags) => {
        const out = outputPath(dir, flags.out);
        await using store = await context.openStore();
        if (flags.inPlace !== undefined) return await inPlace(context, store, model, out, flags);
        const result = await store.link(model, out, { copy: flags.copy });
        context.print(result, () => {
          const parts = [
            [result.reflinkedBytes, "reflinked"],
            [result.linkedBytes, "hard-linked"],
            [result.copiedBytes, "copied"],
            [result.writtenBytes, "written"],
          ] as const;
          const said = parts.filter(([size]) => size > 0).map(([size, how]) => `${bytes(size)} ${how}`);
          return `linked ${model}: ${said.join(", ")} in ${result.path}`;
        });
        if (result.copiedBytes > 0 && !flags.copy) {
          context.streams.stderr.write(
            `tare: ${bytes(result.copiedBytes)} were copied: ${result.path} cannot share them with the store\n` +
              "  hint: a folder on the store's own file system takes no space\n",
          );
        }
      }),
    );
};

async function inPlace(
  context: Context,
  store: TareStore,
  model: string,
  out: string,
  { inPlace: weights = "", method, map }: LinkFlags,
): Promise<void> {
  const result = await store.linkInPlace(model, weights, out, {
    method,
    map: map === undefined ? undefined : await readMapping(map),
    signal: context.signal,
  });
  context.print(result, () => {
    const rows = result.bindings.map(({ name, dtype, shape, location, offset, length }) => {
      return [name, dtype, `[${shape.join(", ")}]`, location, String(offset), bytes(length)];
    });
    const head = ["WEIGHT", "DTYPE", "SHAPE", "IN", "AT", "SIZE"];
    return `${table([head, ...rows], [4, 5])}\n\nwritten: ${result.path} (${bytes(result.size)})`;
  });
}
