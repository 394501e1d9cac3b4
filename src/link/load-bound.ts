import { open, realpath } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { alignUp } from "../io/align.ts";
import type { OrtSource } from "../engines/onnxruntime/compile.ts";
import type { OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import type { OrtSessionInfo } from "../engines/onnxruntime/session.ts";
import { ANONYMOUS, type Binding, type LinkPlan } from "../model/link-plan.ts";
import { writeAll } from "../node/write-chunks.ts";
import type { BoundParts, WeightBinding } from "./bound-parts.ts";
import { checkedWeight, requireDigest } from "./checked-weight.ts";
import type { LocalStore } from "../local-store/local-store.ts";

/** Loads a program whose weights are files in a folder. */
export type LoadProgram = (
  source: OrtSource,
  folder: string,
  options: OrtLoadOptions,
) => Promise<OrtSessionInfo>;

/** Of weights in a file, as vector units like it. */
const ALIGNMENT = 64;

/** A file and where in it a weight is. */
interface Place {
  readonly path: string;
  readonly offset: number;
}

/** Loads a program over its weights, wherever they are: see {@link BoundProgram.load}. */
export async function loadBound(
  parts: BoundParts,
  files: LocalStore,
  load: LoadProgram,
  options: OrtLoadOptions,
): Promise<OrtSessionInfo> {
  const lease = await files.blobs.lease();
  try {
    const places = await placesOf(parts, join(lease.folder, "weights"), options.signal);
    const root = await realpath(files.name);
    const paths = [...places.values()].map(({ path }) => path);
    const own = paths.every((path) => path.startsWith(root + sep));
    // What is made of weights lies in the store: only a program that is wholly there has it in reach.
    const folder = own ? root : commonFolder(paths);
    const placed = planOf(parts, places, folder);
    const plan = own ? placed : anonymous(placed);
    const session = await load(
      { plan, open: async () => ({ ...parts.program, bind: binder(parts, plan) }) },
      folder,
      options,
    );
    return endingWith(session, async () => lease[Symbol.asyncDispose]());
  } catch (error) {
    await lease[Symbol.asyncDispose]();
    throw error;
  }
}

/** Where each weight can be mapped: where it lies, or in a file that is made now for all that lie in none. */
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
      for await (const chunk of checkedWeight(parts, binding, signal)) {
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

/** The engine opens nothing outside of the one folder that it is given. */
function commonFolder(paths: readonly string[]): string {
  let folder = dirname(paths[0] ?? "/");
  for (const path of paths) {
    while (!path.startsWith(folder.endsWith(sep) ? folder : folder + sep)) folder = dirname(folder);
  }
  return folder;
}

/** A session that lets go of something else when it is released. */
function endingWith(session: OrtSessionInfo, end: () => Promise<void>): OrtSessionInfo {
  const release = async (): Promise<void> => {
    await session.release();
    await end();
  };
  return new Proxy(session, {
    get(target, key) {
      if (key === "release" || key === Symbol.asyncDispose) return release;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
