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
import { boundBytes, requireDigest } from "./bound-bytes.ts";
import type { Progress } from "../io/progress.ts";

/** Limit of a protobuf message, whose size has 31 bits. */
const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** The place of the weights of a written program. */
export type WeightStorage = "embedded" | "in-place" | "symbolic";

/** Options of {@link writeBound}. */
export interface WriteBoundOptions {
  readonly storage: WeightStorage;
  /** Scope of symbolic weights; "weights" unless given. */
  readonly scope?: string | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of {@link writeBound}. */
export interface WrittenProgram {
  readonly path: string;
  /** Size in bytes. */
  readonly size: number;
  readonly storage: WeightStorage;
  readonly bindings: readonly WeightBinding[];
}

/**
 * Writes a program as one file: see {@link BoundProgram.write}. Checks the weights whose digests are known. A symbolic
 * program has the digest of every weight.
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
        hint: "Link it in place, or as a folder: an ONNX file has at most 2 GiB",
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
      throw new UsageError("usage", `Cannot name a scope "${scope}"`, {
        hint: "Use letters, digits, dots and dashes",
      });
    }
    const digest =
      binding.digest ?? (await hashWeight(parts.data, name, { createDigest: createSha256, signal }));
    return { kind: "file", location: formatSymbol({ scope, key }), offset: 0, length, digest };
  }
  if (there.kind === "live") {
    throw new LinkError(
      "unsupported",
      `Cannot use weight "${key}" of "${there.from}" in place: no file has its plain bytes`,
      {
        tensor: name,
        hint: "Embed the weights",
      },
    );
  }
  if (there.kind === "blob") {
    throw new LinkError("unsupported", `Cannot use weight "${key}" in place: it is in the store`, {
      tensor: name,
      hint: "Make a folder of links with tare link NAME FOLDER, give a checkpoint that has the weights, or embed them",
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

/** Streams the bytes of the program, with its weights in the gaps. */
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
    yield* boundBytes(parts, inside[index] as WeightBinding, signal);
    at = gap.offset + gap.length;
    onProgress?.({ done: at, total });
  }
  if (total > at) yield program.slice(at, total - at);
}

/** Sorts the weights in the order of the program. */
function weightsInOrder({ program, bindings }: BoundParts): WeightBinding[] {
  const byName = new Map(bindings.map((binding) => [binding.name, binding]));
  return [...program.bound.weights]
    .sort((a, b) => a.frame.start - b.frame.start)
    .map(({ name }) => byName.get(name) as WeightBinding);
}

/** Location of external data in ONNX: relative to the program's folder, with `/`. */
function locationOf(path: string, folder: string): string {
  const location = relative(folder, path);
  if (location !== "" && !location.startsWith("..")) return location.split(sep).join("/");
  throw new SourceError("unsafe-path", `Cannot use "${path}" in place: it is not in the program's folder`, {
    path,
    hint: `Write the program into "${dirname(path)}": ONNX runtimes open no external data outside its folder`,
  });
}
