import { resolve } from "node:path";
import type { ReadOptions } from "../../io/byte-source.ts";
import { PROPERTIES_VERSION, MIN_BUFFER_ALIGNMENT } from "../../formats/mlir/schema.ts";
import type { Digest } from "../../tensor/digest.ts";
import { createSha256 } from "../../node/sha256.ts";
import { requireNoFile, writeNewFile } from "../../node/write-new-file.ts";
import { aliasedWeights } from "../../weights/aliased.ts";
import { checkedWeight } from "../../weights/checked-weight.ts";
import { openRef, type WeightRef } from "../../weights/open-ref.ts";
import type { OpenedRef } from "../../weights/opened-ref.ts";
import type { OpenWeights } from "../../weights/open-weights.ts";
import { allRefWeights } from "../../weights/ref-weights.ts";
import type { WeightSource } from "../../weights/weight-source.ts";
import { pieceChunks } from "./chunks.ts";
import type { Store } from "../../store/store.ts";
import { type OpenStore, openLinkedWeights } from "./linked-weights.ts";
import { matchMlirWeights } from "./match-mlir-weights.ts";
import { openMlir, type OpenMlir } from "./open.ts";
import type { Progress } from "../../io/progress.ts";

/** Options of {@link attach}. */
export interface AttachOptions {
  /** Weights to use, by name; those that the thin file records, unless given. */
  readonly from?: WeightRef | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of an attach. Sizes in bytes. */
export interface AttachResult {
  readonly path: string;
  readonly bytes: number;
  readonly weights: number;
  readonly weightBytes: number;
  /** Names of available weights that the program no longer uses. */
  readonly unused: readonly string[];
  /** Notes for people. */
  readonly notes: readonly string[];
}

/** A resource of a thin file. */
export interface ResourceInfo {
  readonly key: string;
  /** Type as the program writes it; `undefined` for bytecode. */
  readonly type: string | undefined;
  /** Size in bytes; `undefined` if unknown. */
  readonly bytes: number | undefined;
  readonly digest: Digest | undefined;
  /**
   * `here`: its bytes are in the file. `found`: its bytes are in another place. `missing`: its bytes are not found.
   * `unused`: the program does not use it. `external`: a global without a value, which other tools may provide.
   */
  readonly state: "here" | "found" | "missing" | "unused" | "external";
  readonly where: string | undefined;
}

/**
 * Writes a thin MLIR file with its weights, also if compiler passes changed the file. Writes sequentially, and checks
 * each weight whose digest is known. Lists the weights that the program no longer uses, and does not write them.
 * @throws WeightMismatchError `missing-weight`, `mismatch`, with every weight that is missing or does not fit;
 * StoreError `corrupted`; SourceError `exists`, `source-changed`
 */
export async function attach(
  store: Store | OpenStore,
  thin: string,
  out: string,
  options: AttachOptions = {},
): Promise<AttachResult> {
  await requireNoFile(out);
  await using mlir = await openMlir(thin, options);
  await using found = await findWeights(mlir, store, options);
  const left = mlir.externs.filter((key) => !found.layout(key));
  const given = mlir.externs.filter((key) => found.layout(key));
  const weights = matchMlirWeights(mlir, [...mlir.missing, ...given], found);
  const layouts = [...weights].map(([key, { length, alignment }]) => {
    const asked = alignment ?? mlir.manifest?.weights.get(key)?.alignment ?? MIN_BUFFER_ALIGNMENT;
    return [key, { length, alignment: asked }] as const;
  });
  const { pieces, notes } = mlir.filled(new Map(layouts));
  const total = [...weights.values()].reduce((sum, each) => sum + each.length, 0);
  let done = 0;
  const chunks = pieceChunks(pieces, mlir.source, options, (key) => checked(found, key, options));
  const bytes = await writeNewFile(out, chunks, {
    signal: options.signal,
    onBytes(count) {
      done = Math.min(total, done + count);
      options.onProgress?.({ done, total });
    },
  });
  const unused = keysOf(mlir, found, options).filter((key) => !weights.has(key));
  const some = left.slice(0, 8).join(", ") + (left.length > 8 ? ", …" : "");
  const open = left.length > 0 ? [`${left.length} external globals still have no value (${some})`] : [];
  const all = [...notes, ...open, ...crossing(mlir)];
  return { path: resolve(out), bytes, weights: weights.size, weightBytes: total, unused, notes: all };
}

/**
 * Lists the resources of an MLIR file, and where the bytes of each are.
 * @param options `verify` reads each weight that is found, and checks it against its digest
 * @throws WeightMismatchError `mismatch` with every weight that does not fit; StoreError `corrupted` naming the weight
 */
export async function listResources(
  store: Store | OpenStore,
  path: string,
  options: AttachOptions & { readonly verify?: boolean | undefined } = {},
): Promise<ResourceInfo[]> {
  await using mlir = await openMlir(path, options);
  const typeOf = (key: string): string | undefined => mlir.types(key)[0]?.text;
  const here = mlir.blobs.map(({ key, length }): ResourceInfo => {
    return { key, type: typeOf(key), bytes: length, digest: undefined, state: "here", where: undefined };
  });
  const { manifest } = mlir;
  const wanted = new Set([...mlir.missing, ...mlir.externs]);
  if (wanted.size === 0 && !manifest && options.from === undefined) return here;
  await using found =
    manifest || options.from !== undefined ? await findWeights(mlir, store, options) : undefined;
  if (found) {
    const available = [...wanted].filter((key) => found.layout(key));
    matchMlirWeights(mlir, available, found);
  }
  const rows: ResourceInfo[] = [];
  const missing = new Set(mlir.missing);
  const linked = options.from === undefined ? [...(manifest?.weights.keys() ?? [])] : [];
  for (const key of new Set([...wanted, ...linked])) {
    const weight = found?.layout(key);
    if (found && weight && options.verify) for await (const _ of checked(found, key, options));
    const recorded = manifest?.weights.get(key);
    const needed = missing.has(key) ? "missing" : "external";
    const state = !wanted.has(key) ? "unused" : weight ? "found" : needed;
    const bytes = weight?.length ?? recorded?.length;
    const digest = weight?.digest ?? recorded?.digest;
    rows.push({ key, type: typeOf(key), bytes, digest, state, where: weight && found?.name });
  }
  return [...here, ...rows];
}

async function findWeights(
  mlir: OpenMlir,
  store: Store | OpenStore,
  { from, signal }: AttachOptions,
): Promise<OpenWeights> {
  const { manifest, source } = mlir;
  if (from !== undefined) return weightsOf(await openRef(from, { store, signal }));
  if (manifest) return await openLinkedWeights(manifest, source.name, store, { signal });
  return { ...aliasedWeights("no weights", new Map()), async [Symbol.asyncDispose]() {} };
}

/** Takes the weights of all methods of a resolved reference. */
async function weightsOf(opened: OpenedRef): Promise<OpenWeights> {
  try {
    const source = allRefWeights(opened);
    const format = formatOf(opened);
    return {
      name: opened.kind === "model" ? `store: ${opened.name}` : opened.name,
      keys: () => source.keys(),
      layout: (key) => {
        const layout = source.layout(key);
        // Another program's type of a resource does not apply: its bytes may be bit-packed, or a splat of one element.
        return format === "mlir" ? layout && { ...layout, dtype: "uint8", shape: [layout.length] } : layout;
      },
      open: (key, options) => source.open(key, options),
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
    };
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

function formatOf(opened: OpenedRef): string | undefined {
  if (opened.kind === "model") return opened.model.config.format;
  return opened.kind === "weights" ? undefined : opened.draft.format;
}

/** Keys of all weights that could be attached: those of the manifest, found or not, or those of other weights. */
function keysOf({ manifest }: OpenMlir, found: WeightSource, { from }: AttachOptions): readonly string[] {
  return from === undefined && manifest ? [...manifest.weights.keys()] : found.keys();
}

/** Streams the bytes of a weight, and checks their digest, if it is known. */
function checked(source: WeightSource, key: string, { signal }: ReadOptions): AsyncGenerator<Uint8Array> {
  const digest = source.layout(key)?.digest;
  const hint = "Add or detach the original file again";
  return checkedWeight(source, key, { digest, createDigest: createSha256, signal, hint });
}

/**
 * Warns if another LLVM changed a program that was written in bytecode version 5 or later: only the LLVM version that
 * wrote such bytecode reads it reliably.
 */
function crossing({ manifest, producer }: OpenMlir): string[] {
  const { producer: before, bytecode } = manifest?.file ?? {};
  if (before === undefined || bytecode === undefined || bytecode < PROPERTIES_VERSION) return [];
  if (producer === undefined || producer.trimEnd() === before) return [];
  return [
    `${before} wrote the original in bytecode ${bytecode}, and ${producer.trimEnd()} wrote this program: it is reliable ` +
      `only if ${before} converted the thin file to text, or with --emit-bytecode-version=4, before that`,
  ];
}
