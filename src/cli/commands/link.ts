import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { UsageError } from "../../errors.ts";
import type { Storage } from "../../link/bound-parts.ts";
import type { BoundProgram } from "../../link/bound-program.ts";
import type { WeightStorage } from "../../link/write-bound.ts";
import type { TareStore } from "../../tare-store.ts";
import { type DefineCommand, examples } from "../command.ts";
import { bytes, type Context, table } from "../context.ts";
import { collect, outputPath, readNameMap } from "../options.ts";
import { link as linkModel } from "../../link/link-folder.ts";
import { bind as bindStored } from "../../link/bind.ts";
import { bindFile as bindOnnxFile } from "../../link/bind-file.ts";

interface LinkFlags {
  readonly out?: string;
  readonly copy?: boolean;
  readonly inPlace?: string | true;
  readonly embed?: boolean;
  readonly symbolic?: string;
  readonly from?: string;
  readonly scope: readonly string[];
  readonly remote?: boolean;
  readonly plan?: boolean;
  readonly method?: string;
  readonly map?: string;
}

/** `tare link`: what engines open that know nothing of tare, and programs whose weights are elsewhere. */
export const link: DefineCommand = (program, act) => {
  program
    .command("link")
    .summary("make what stock engines open, over the store's weights or others where they lie")
    .description(
      "Make a folder with a model's programs and links to its weights: ordinary ONNX files with external data, or the\n" +
        "shards of a GGUF model. A safetensors file holds its weights itself: tare export writes it.\n" +
        "Reflinks or hard links take no space; where the file system can do neither, weights are copied, and that is\n" +
        "said. Hard-linked weights are read-only: they are the store's own.\n\n" +
        "An ONNX program can be written as one file instead, its weights bound strictly, by name, dtype and shape:\n" +
        "in place (a checkpoint is its external data, unconverted), embedded, or symbolic (scope::key and a digest\n" +
        "each; some kilobytes, which tare gives weights again wherever it comes to: name the file as the subject).",
    )
    .argument("<model>", "a model of the store, or an .onnx file")
    .argument("[out]", "the same as --out")
    .option("--out <path>", "the folder to make, or the program's file")
    .option("--in-place [weights]", "a file whose weights stay where they are: in this checkpoint, beside it")
    .option("--embed", "a file with its weights inside")
    .option("--symbolic <scope>", "a file whose weights are named: <scope>::<name>")
    .option(
      "--from <weights>",
      "other weights: a model of the store, a file or folder in any format, an https: URL",
    )
    .option("--scope <name=weights>", "of a symbolic file: what its scope is; may be repeated", collect, [])
    .option("--remote", "of a file: let the URLs that it names be fetched")
    .option("--plan", "print where each weight is, and write nothing")
    .option("--method <name>", "the graph, where the model has several")
    .option("--map <file>", "names of the model → names of the weights, as JSON")
    .option(
      "--copy",
      "copy what cannot be reflinked: Python's onnx.load refuses linked files, engines take them",
    )
    .addHelpText(
      "after",
      examples(
        "tare link base views/base",
        "tare link base --in-place weights/tuned.safetensors --out weights/tuned.onnx",
        "tare link base --embed --out base.onnx",
        "tare link base --symbolic base --out thin.onnx",
        "tare link thin.onnx --scope base=checkpoint.safetensors --out tuned.onnx",
        "tare link thin.onnx --scope base=https://example.com/model.safetensors --embed --out whole.onnx",
        "tare link base --from tuned.safetensors --plan",
      ),
    )
    .action(
      act(async (context, model: string, path: string | undefined, flags: LinkFlags) => {
        const store = await context.openStore();
        const file = await isProgramFile(store, model);
        const storage = storageOf(flags, file);
        if (flags.plan || storage) return await bound(context, store, model, file, storage, path, flags);
        const result = await linkModel(store, model, outputPath(path, flags.out), { copy: flags.copy });
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

/** A name of the store goes before a file of that name. */
async function isProgramFile(store: TareStore, subject: string): Promise<boolean> {
  if (!/\.onnx$/i.test(subject) || (await store.has(subject))) return false;
  return (await stat(subject).catch(() => undefined))?.isFile() ?? false;
}

/** How the program is written; `undefined` for a folder. */
function storageOf({ inPlace, embed, symbolic, from }: LinkFlags, file: boolean): WeightStorage | undefined {
  const asked = [
    ...(inPlace === undefined ? [] : ["in-place" as const]),
    ...(embed ? ["embedded" as const] : []),
    ...(symbolic === undefined ? [] : ["symbolic" as const]),
  ];
  if (asked.length > 1) {
    throw new UsageError("usage", "Cannot link in several ways at once", {
      hint: "one of --in-place, --embed and --symbolic",
    });
  }
  return asked[0] ?? (file || from !== undefined ? "in-place" : undefined);
}

async function bound(
  context: Context,
  store: TareStore,
  subject: string,
  file: boolean,
  storage: WeightStorage | undefined,
  path: string | undefined,
  flags: LinkFlags,
): Promise<void> {
  await using program = await (file
    ? bindFile(context, store, subject, flags)
    : bindModel(context, store, subject, flags));
  if (flags.plan || !storage) {
    context.print({ bindings: program.bindings }, () => planTable(program));
    return;
  }
  const out = outputPath(path, flags.out);
  const result = await context.withProgress(`linking ${subject}`, (onProgress) =>
    program.write(out, { storage, scope: flags.symbolic, signal: context.signal, onProgress }),
  );
  context.print(result, () => `${planTable(program)}\n\nwritten: ${result.path} (${bytes(result.size)})`);
}

async function bindModel(
  context: Context,
  store: TareStore,
  model: string,
  { inPlace, from, method, map, scope }: LinkFlags,
): Promise<BoundProgram> {
  if (scope.length > 0) {
    throw new UsageError("usage", `Cannot use --scope for "${model}": it is a model of the store`, {
      hint: "--from WEIGHTS gives it other weights; scopes are those of a symbolic .onnx file",
    });
  }
  return bindStored(store, model, {
    method,
    weights: typeof inPlace === "string" ? inPlace : from,
    map: map === undefined ? undefined : await readNameMap(map),
    signal: context.signal,
  });
}

async function bindFile(
  context: Context,
  store: TareStore,
  path: string,
  { scope, remote, from, inPlace }: LinkFlags,
): Promise<BoundProgram> {
  if (from !== undefined || typeof inPlace === "string") {
    throw new UsageError("usage", `Cannot give other weights to "${path}": it says itself where they are`, {
      hint: "--scope NAME=WEIGHTS says what its scopes are; tare add makes a model of it, which takes any",
    });
  }
  const scopes = Object.fromEntries(scope.map(parseScope));
  return bindOnnxFile(store, path, { scopes, remote, signal: context.signal });
}

function parseScope(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw new UsageError("usage", `Cannot use --scope "${text}"`, { hint: "it is NAME=WEIGHTS" });
}

function planTable({ bindings }: BoundProgram): string {
  const rows = bindings.map(({ name, dtype, shape, length, key, storage }) => {
    const [where, at] = placeText(storage);
    return [name, dtype, `[${shape.join(", ")}]`, bytes(length), where, at, key === name ? "" : key];
  });
  return table([["WEIGHT", "DTYPE", "SHAPE", "SIZE", "IN", "AT", "AS"], ...rows], [3, 5]);
}

function placeText(storage: Storage): [string, string] {
  if (storage.kind === "live") return [storage.from, ""];
  if (storage.kind === "blob") return [`blob ${basename(storage.path).slice(0, 12)}`, String(storage.offset)];
  return [storage.kind === "url" ? storage.url : storage.path, String(storage.offset)];
}
