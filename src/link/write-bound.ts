import { dirname, relative, resolve, sep } from "node:path";
import { hashWeight } from "../weights/hash-weight.ts";
import type { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import { FormatError, LinkError, SourceError, UsageError } from "../errors.ts";
import type { TensorBinding } from "../formats/onnx/encode.ts";
import { formatSymbol, isScope } from "../formats/onnx/symbol.ts";
import { writeSparse } from "../formats/onnx/thin.ts";
import { createSha256 } from "../node/sha256.ts";
import { requireNoFile, writeNewFile } from "../node/write-new-file.ts";
import type { BoundParts, WeightBinding } from "./bound-parts.ts";
import { checkedWeight, requireDigest } from "./checked-weight.ts";
import type { Progress } from "../io/progress.ts";

/** Protobuf counts the bytes of a message in 31 bits. */
const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** Where the weights of a written program are. */
export type WeightStorage = "embedded" | "in-place" | "symbolic";

/** Options of {@link writeBound}. */
export interface WriteBoundOptions {
  readonly storage: WeightStorage;
  /** Name of what symbolic weights are in; "weights" unless given. */
  readonly scope?: string | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A program that was written. */
export interface WrittenProgram {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  readonly storage: WeightStorage;
  readonly bindings: readonly WeightBinding[];
}

/**
 * Writes a program as one file, its weights where they are to be: see {@link BoundProgram.write}. Weights whose digests
 * are known are hashed before they can be used, and a symbolic program has the digest of each.
 */
export async function writeBound(
  parts: BoundParts,
  path: string,
  options: WriteBoundOptions,
): Promise<WrittenProgram> {
  await requireNoFile(path);
  const { storage, signal } = options;
  const { view, graph, bind, bound } = parts.program;
  const target = resolve(path);
  const table = new Map<string, TensorBinding>();
  for (const binding of parts.bindings) {
    table.set(binding.name, await writtenBinding(parts, binding, dirname(target), options));
  }
  const program = writeSparse(view, graph, (name) => table.get(name) ?? bind(name), bound);
  if (program.size > MAX_MODEL_BYTES) {
    throw new FormatError(
      "too-large",
      `Cannot write "${path}": with its weights it has ${program.size} bytes`,
      {
        path,
        hint: "an ONNX file has at most 2 GiB: link it in place, or as a folder",
      },
    );
  }
  const size = await writeNewFile(target, chunksOf(parts, program, options), { signal });
  return { path: target, size, storage, bindings: parts.bindings };
}

async function writtenBinding(
  parts: BoundParts,
  binding: WeightBinding,
  folder: string,
  { storage, scope = "weights", signal }: WriteBoundOptions,
): Promise<TensorBinding> {
  const { name, key, length, storage: there } = binding;
  if (storage === "embedded") return { kind: "following", length };
  if (storage === "symbolic") {
    if (!isScope(scope)) {
      throw new UsageError("usage", `Cannot call a scope "${scope}"`, {
        hint: "letters, digits, dots and dashes",
      });
    }
    const digest =
      binding.digest ?? (await hashWeight(parts.data, name, { createDigest: createSha256, signal }));
    return { kind: "file", location: formatSymbol({ scope, key }), offset: 0, length, digest };
  }
  if (there.kind === "live") {
    throw new LinkError(
      "unsupported",
      `Cannot use weight "${key}" of "${there.from}" in place: no file has it as it is`,
      {
        tensor: name,
        hint: "embed it",
      },
    );
  }
  if (there.kind === "blob") {
    throw new LinkError("unsupported", `Cannot use weight "${key}" in place: it is in the store`, {
      tensor: name,
      hint: "tare link NAME FOLDER makes a folder of links to it; or name a checkpoint that has the weights, or embed them",
    });
  }
  const { offset } = there;
  if (there.kind === "url") {
    return { kind: "file", location: there.url, offset, length, digest: binding.digest };
  }
  const location = locationOf(there.path, folder);
  await requireDigest(parts, binding, signal);
  return { kind: "file", location, offset, length };
}

/** The program's own bytes, and its weights in its gaps, in the order of the file. */
async function* chunksOf(
  parts: BoundParts,
  program: SparseBytes,
  { onProgress, signal }: WriteBoundOptions,
): AsyncGenerator<Uint8Array> {
  const inside = weightsInOrder(parts).filter(({ length }) => length > 0);
  const total = program.size;
  let at = 0;
  for (const [index, gap] of program.gaps.entries()) {
    if (gap.offset > at) yield program.slice(at, gap.offset - at);
    yield* checkedWeight(parts, inside[index] as WeightBinding, signal);
    at = gap.offset + gap.length;
    onProgress?.({ done: at, total });
  }
  if (total > at) yield program.slice(at, total - at);
}

/** As the program has them. */
function weightsInOrder({ program, bindings }: BoundParts): WeightBinding[] {
  const byName = new Map(bindings.map((binding) => [binding.name, binding]));
  return [...program.bound.weights]
    .sort((a, b) => a.frame.start - b.frame.start)
    .map(({ name }) => byName.get(name) as WeightBinding);
}

/** As ONNX writes it: relative to the program, with `/`. */
function locationOf(path: string, folder: string): string {
  const way = relative(folder, path);
  if (way !== "" && !way.startsWith("..")) return way.split(sep).join("/");
  throw new SourceError("unsafe-path", `Cannot use "${path}" in place: it is not in the program's folder`, {
    path,
    hint: `ONNX runtimes open no external data outside of it: write the program into "${dirname(path)}"`,
  });
}
