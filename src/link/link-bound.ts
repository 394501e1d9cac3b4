import { open, realpath } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { alignUp } from "../io/align.ts";
import { ANONYMOUS, type Binding, type LinkPlan } from "../model/link-plan.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { writeAll } from "../node/write-chunks.ts";
import type { BoundParts, WeightBinding } from "./bound-parts.ts";
import { boundBytes, requireDigest } from "./bound-bytes.ts";
import type { LinkedOnnx } from "./linked-program.ts";

/** Alignment of weights in a temporary file, in bytes: the width of the largest vector registers. */
const ALIGNMENT = 64;

/** Path of a file, and offset of a weight in it. */
interface Place {
  readonly path: string;
  readonly offset: number;
}

/**
 * Links a program to its weights. Weights in local files stay there; other weights are written into a temporary file of
 * the store, which the lease of the program keeps.
 * @throws StoreError `corrupted` for weights that do not match their digests; LinkError, SourceError
 */
export async function linkBound(
  parts: BoundParts,
  files: LocalStore,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<LinkedOnnx> {
  const lease = await files.blobs.lease();
  try {
    const places = await placesOf(parts, join(lease.folder, "weights"), options.signal);
    const root = await realpath(files.name);
    const paths = [...places.values()].map(({ path }) => path);
    const own = paths.every((path) => path.startsWith(root + sep));
    // The caches of the store refer to files inside the store, so they serve only programs with all weights there.
    const folder = own ? root : commonFolder(paths);
    const placed = planOf(parts, places, folder);
    const plan = own ? placed : anonymous(placed);
    return {
      format: "onnx",
      name: parts.name,
      method: parts.method,
      folder,
      bindings: plan.weights,
      weights: parts.data,
      lease,
      plan,
      open: async () => ({ ...parts.program, bind: binder(parts, plan) }),
    };
  } catch (error) {
    await lease[Symbol.asyncDispose]();
    throw error;
  }
}

/** Finds the file of each weight, and writes a temporary file for weights that are not in a local file. */
async function placesOf(
  parts: BoundParts,
  temporary: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, Place>> {
  const places = new Map<string, Place>();
  const elsewhere: WeightBinding[] = [];
  const real = new Map<string, string>();
  for (const binding of parts.bindings) {
    const { name, storage } = binding;
    if (storage.kind !== "blob" && storage.kind !== "file") {
      elsewhere.push(binding);
      continue;
    }
    await requireDigest(parts, binding, signal);
    const path = real.get(storage.path) ?? (await realpath(storage.path));
    real.set(storage.path, path);
    places.set(name, { path, offset: storage.offset });
  }
  if (elsewhere.length === 0) return places;
  const file = await open(temporary, "wx", 0o600);
  try {
    const path = await realpath(temporary);
    let at = 0;
    for (const binding of elsewhere) {
      at = alignUp(at, ALIGNMENT);
      places.set(binding.name, { path, offset: at });
      for await (const chunk of boundBytes(parts, binding, signal)) {
        await writeAll(file, chunk, at);
        at += chunk.byteLength;
      }
    }
  } finally {
    await file.close();
  }
  return places;
}

function planOf(parts: BoundParts, places: ReadonlyMap<string, Place>, folder: string): LinkPlan {
  const weights = parts.bindings.map(({ name, dtype, shape, length, digest = ANONYMOUS }): Binding => {
    const { path, offset } = places.get(name) as Place;
    const location = relative(folder, path).split(sep).join("/");
    return { name, dtype, shape, digest, location, offset, length };
  });
  const { name: model, method, digest: program, constants } = parts;
  return { model, method, program, weights, constants };
}

function anonymous(plan: LinkPlan): LinkPlan {
  return { ...plan, weights: plan.weights.map((weight) => ({ ...weight, digest: ANONYMOUS })) };
}

function binder({ program }: BoundParts, { weights }: LinkPlan): BoundParts["program"]["bind"] {
  const table = new Map(weights.map((weight) => [weight.name, weight]));
  return (name) => {
    const weight = table.get(name);
    if (!weight) return program.bind(name);
    const { location, offset, length } = weight;
    return { kind: "file", location, offset, length };
  };
}

/** The deepest common folder of all paths: the engine opens only files inside one folder. */
function commonFolder(paths: readonly string[]): string {
  let folder = dirname(paths[0] ?? "/");
  for (const path of paths) {
    while (!path.startsWith(folder.endsWith(sep) ? folder : folder + sep)) folder = dirname(folder);
  }
  return folder;
}
