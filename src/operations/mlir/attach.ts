import { resolve } from "node:path";
import type { ReadOptions } from "../../io/byte-source.ts";
import { LinkError, StoreError } from "../../errors.ts";
import { PROPERTIES_VERSION, MIN_BUFFER_ALIGNMENT } from "../../formats/mlir/schema.ts";
import type { Digest } from "../../tensor/digest.ts";
import { createSha256 } from "../../node/sha256.ts";
import { requireNoFile, writeNewFile } from "../../node/write-new-file.ts";
import { aliasedWeights } from "../../weights/aliased.ts";
import { openRef, type WeightRef } from "../../weights/open-ref.ts";
import type { OpenedRef } from "../../weights/opened-ref.ts";
import type { OpenWeights } from "../../weights/open-weights.ts";
import { allRefWeights } from "../../weights/ref-weights.ts";
import { streamWeight } from "../../weights/stream-weight.ts";
import type { WeightLayout, WeightSource } from "../../weights/weight-source.ts";
import { checkWeightCompatibility } from "./check-weight.ts";
import { pieceChunks } from "./chunks.ts";
import type { Store } from "../../store/store.ts";
import { type OpenStore, openLinkedWeights } from "./linked-weights.ts";
import { openMlir, type OpenMlir } from "./open.ts";
import type { Progress } from "../../io/progress.ts";

/** Options of {@link attach}. */
export interface AttachOptions {
  /** What has the weights by name; what the thin file names, unless given. */
  readonly from?: WeightRef | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What an attach did. Sizes in bytes. */
export interface AttachResult {
  readonly path: string;
  readonly bytes: number;
  readonly weights: number;
  readonly weightBytes: number;
  /** Weights that were there and that the program has no use for any more. */
  readonly unused: readonly string[];
  /** What people should know, in sentences. */
  readonly notes: readonly string[];
}

/** A resource of a thin file. */
export interface ResourceInfo {
  readonly key: string;
  /** As the program spells it; only a text tells. */
  readonly type: string | undefined;
  /** In bytes; `undefined` where nothing says it. */
  readonly bytes: number | undefined;
  readonly digest: Digest | undefined;
  /**
   * `here` in the file, `found` where it says, `missing`, `unused` by the program, or `external`: a global that may get
   * its value from elsewhere.
   */
  readonly state: "here" | "found" | "missing" | "unused" | "external";
  readonly where: string | undefined;
}

/**
 * Gives a thin MLIR file its weights back, whatever passes made of it: one sequential write, each weight of a known
 * digest checked on the way. Weights that the program does not use any more are told, and left out.
 * @throws LinkError `missing-weight` naming all that are not found, `mismatch` where a size or type is another;
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
  const weights = new Map<string, WeightLayout>();
  const lacking = (keys: readonly string[]): string[] =>
    keys.filter((key) => {
      const layout = found.layout(key);
      if (!layout) return true;
      checkWeightCompatibility(mlir, key, layout, found.name);
      weights.set(key, layout);
      return false;
    });
  const missing = lacking(mlir.missing);
  if (missing.length > 0) {
    const { from } = options;
    throw missingWeights(thin, missing, typeof from === "object" ? found.name : from);
  }
  const left = lacking(mlir.externs);
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
  const open = left.length > 0 ? [`${left.length} external globals stay as they are (${some})`] : [];
  const all = [...notes, ...open, ...crossing(mlir)];
  return { path: resolve(out), bytes, weights: weights.size, weightBytes: total, unused, notes: all };
}

/**
 * Lists the resources of an MLIR file, and where the bytes of each are.
 * @param verify read each weight that is found, and check it against its digest
 * @throws StoreError `corrupted` naming the weight
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
  const rows: ResourceInfo[] = [];
  const missing = new Set(mlir.missing);
  const linked = options.from === undefined ? [...(manifest?.weights.keys() ?? [])] : [];
  for (const key of new Set([...wanted, ...linked])) {
    const weight = found?.layout(key);
    if (found && weight && wanted.has(key)) checkWeightCompatibility(mlir, key, weight, found.name);
    if (found && weight && options.verify) for await (const _ of checked(found, key, options));
    const said = manifest?.weights.get(key);
    const needed = missing.has(key) ? "missing" : "external";
    const state = !wanted.has(key) ? "unused" : weight ? "found" : needed;
    const bytes = weight?.length ?? said?.length;
    const digest = weight?.digest ?? said?.digest;
    rows.push({ key, type: typeOf(key), bytes, digest, state, where: weight && found?.name });
  }
  return [...here, ...rows];
}

async function findWeights(
  mlir: OpenMlir,
  store: Store | OpenStore,
  { from, signal }: AttachOptions,
): Promise<OpenWeights> {
  const { manifest, missing, source } = mlir;
  if (from !== undefined) return weightsOf(await openRef(from, { store, signal }));
  if (manifest) return await openLinkedWeights(manifest, source.name, store, { signal });
  if (missing.length > 0) throw missingWeights(source.name, missing, undefined);
  return { ...aliasedWeights("nothing", new Map()), async [Symbol.asyncDispose]() {} };
}

/** The weights of all methods of what a reference leads to. */
async function weightsOf(opened: OpenedRef): Promise<OpenWeights> {
  try {
    const source = allRefWeights(opened);
    const format = formatOf(opened);
    return {
      name: opened.kind === "model" ? `store: ${opened.name}` : opened.name,
      keys: () => source.keys(),
      layout: (key) => {
        const layout = source.layout(key);
        // What one program takes its bytes for is nothing to another: a resource may be packed, or one element for all.
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

/** Everything that could be attached: all that a manifest names, whether it is there or not. */
function keysOf({ manifest }: OpenMlir, found: WeightSource, { from }: AttachOptions): readonly string[] {
  return from === undefined && manifest ? [...manifest.weights.keys()] : found.keys();
}

/** A weight's bytes, checked as they pass. */
async function* checked(
  source: WeightSource,
  key: string,
  { signal }: ReadOptions,
): AsyncGenerator<Uint8Array> {
  const digest = source.layout(key)?.digest;
  const hash = digest === undefined ? undefined : createSha256();
  for await (const chunk of streamWeight(source, key, { signal, reuse: true })) {
    hash?.update(chunk);
    yield chunk;
  }
  if (digest === hash?.digest()) return;
  throw new StoreError(
    "corrupted",
    `Cannot attach "${key}": its bytes in ${source.name} are not what they were`,
    {
      tensor: key,
      digest,
      hint: "add or detach the original file again",
    },
  );
}

function missingWeights(path: string, keys: readonly string[], from: string | undefined): LinkError {
  const shown = keys.slice(0, 20).map((key) => `\n    ${key}`);
  const more = keys.length > shown.length ? `\n    and ${keys.length - shown.length} more` : "";
  const place = from === undefined ? "where it says" : `in "${from}"`;
  return new LinkError(
    "missing-weight",
    `Cannot attach to "${path}": ${keys.length} weights are not found ${place}${shown.join("")}${more}`,
    {
      path,
      tensor: keys[0],
      hint: keys.includes("__elided__")
        ? "__elided__ is what LLVM prints where it leaves weights out: their names are lost; detach instead"
        : "Name what has them: --from, a model of the store, a file or folder in any format, or a URL",
    },
  );
}

/** Bytecode from version 5 on is for the LLVM that wrote it: what another made of it may be wrong without a word. */
function crossing({ manifest, producer }: OpenMlir): string[] {
  const { producer: before, bytecode } = manifest?.file ?? {};
  if (before === undefined || bytecode === undefined || bytecode < PROPERTIES_VERSION) return [];
  if (producer === undefined || producer.trimEnd() === before) return [];
  return [
    `${before} wrote the original in bytecode ${bytecode}, and ${producer.trimEnd()} this program: sure only if ` +
      `${before} wrote the thin file anew between them, as text or with --emit-bytecode-version=4`,
  ];
}
