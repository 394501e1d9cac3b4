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

/** `tare link`: writes models as files that unmodified engines open, without a copy of the weights if possible. */
export const link: DefineCommand = (program, act) => {
  program
    .command("link")
    .summary("write files that other engines open, with links to the weights")
    .description(
      "Write a folder that engines open without tare: the model's programs, with links to its stored weights. ONNX\n" +
        "models become ONNX files with external data; GGUF models become shards. For safetensors use tare export, since\n" +
        "the format has no links.\n\n" +
        "Reflinks and hard links take no disk space. If the file system supports neither, tare copies the weights and\n" +
        "prints a note. Hard-linked weights are read-only, because they are the files of the store.\n\n" +
        "An ONNX program can also be written as one file. Each of its weights must match by name, dtype and shape:\n" +
        "  --in-place   the weights stay in a checkpoint, which becomes the program's external data\n" +
        "  --embed      the weights are inside the file\n" +
        "  --symbolic   the file has only a name (SCOPE::NAME) and a digest for each weight: some kilobytes. To give it\n" +
        "               weights again, run tare link with this file as <model>, and with --scope",
    )
    .argument("<model>", "a model of the store, or an .onnx file")
    .argument("[out]", "the same as --out")
    .option("--out <path>", "path of the new folder, or of the new program file")
    .option("--in-place [weights]", "write one file; its weights stay in this checkpoint, in the same folder")
    .option("--embed", "write one file with its weights inside")
    .option("--symbolic <scope>", "write one file that names its weights <scope>::<name>")
    .option(
      "--from <weights>",
      "use other weights: a model of the store, a file or folder in any format, or an http(s) URL",
    )
    .option(
      "--scope <name=weights>",
      "for a symbolic file: the weights that a scope stands for; may be repeated",
      collect,
      [],
    )
    .option("--remote", "for a file: allow tare to fetch the URLs that the file names")
    .option("--plan", "print where each weight is, and write nothing")
    .option("--method <name>", "the method to write, if the model has several")
    .option("--map <file>", 'JSON of names that differ: {"name in the model": "name in the weights"}')
    .option(
      "--copy",
      "copy weights that cannot be reflinked (Python's onnx.load refuses linked files; engines accept them)",
    )
    .addHelpText(
      "after",
      examples(
        "tare link base views/base",
        "tare link base --method decoder --in-place weights/tuned.safetensors --out weights/tuned.onnx",
        "tare link base --method decoder --embed --out base.onnx",
        "tare link base --method decoder --symbolic base --out thin.onnx",
        "tare link thin.onnx --scope base=base.safetensors --out full.onnx",
        "tare link thin.onnx --scope base=https://example.com/base.safetensors --embed --out whole.onnx",
        "tare link base --method decoder --from tuned.safetensors --plan",
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
          const sizes = parts.filter(([size]) => size > 0).map(([size, how]) => `${bytes(size)} ${how}`);
          return `linked ${model}: ${sizes.join(", ")} in ${result.path}`;
        });
        if (result.copiedBytes > 0 && !flags.copy) {
          context.streams.stderr.write(
            `tare: copied ${bytes(result.copiedBytes)}: ${result.path} cannot share files with the store\n` +
              "  hint: Write to a folder on the store's file system: it takes no space\n",
          );
        }
      }),
    );
};

/** Whether the subject is an .onnx file. A model of the store takes precedence over a file of the same name. */
async function isProgramFile(store: TareStore, subject: string): Promise<boolean> {
  if (!/\.onnx$/i.test(subject) || (await store.has(subject))) return false;
  return (await stat(subject).catch(() => undefined))?.isFile() ?? false;
}

/** Storage of the weights that the flags ask for; `undefined` for a folder. */
function storageOf({ inPlace, embed, symbolic, from }: LinkFlags, file: boolean): WeightStorage | undefined {
  const asked = [
    ...(inPlace === undefined ? [] : ["in-place" as const]),
    ...(embed ? ["embedded" as const] : []),
    ...(symbolic === undefined ? [] : ["symbolic" as const]),
  ];
  if (asked.length > 1) {
    throw new UsageError("usage", `Cannot link one program as ${asked.join(" and as ")}`, {
      hint: "Give one of --in-place, --embed and --symbolic",
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
      hint: "Use --from WEIGHTS for other weights; --scope is for a symbolic .onnx file",
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
    throw new UsageError(
      "usage",
      `Cannot link "${path}" to other weights: the file records where its weights are`,
      {
        hint: "Give its scopes with --scope NAME=WEIGHTS, or add it with tare add and link the model",
      },
    );
  }
  const scopes = Object.fromEntries(scope.map(parseScope));
  return bindOnnxFile(store, path, { scopes, remote, signal: context.signal });
}

function parseScope(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw new UsageError("usage", `Cannot use --scope "${text}"`, { hint: "Write --scope NAME=WEIGHTS" });
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
