import { basename, extname, resolve } from "node:path";
import { LinkError } from "../../errors.ts";
import type { MlirLinkedFile, MlirLinkedWeight, LinkManifest } from "../../formats/mlir/link-manifest.ts";
import { mlirDraft } from "../../formats/mlir/read.ts";
import { PROPERTIES_VERSION } from "../../formats/mlir/schema.ts";
import type { Digest } from "../../tensor/digest.ts";
import { createSha256 } from "../../node/sha256.ts";
import { type AddResult, addModel } from "../../local-store/add.ts";
import { requireNoFile, writeNewFile } from "../../node/write-new-file.ts";
import { streamWeight } from "../../weights/stream-weight.ts";
import { pieceChunks } from "./chunks.ts";
import { mlirBlobs } from "./mlir-blobs.ts";
import { openMlir, type OpenMlir } from "./open.ts";
import type { Progress } from "../../io/progress.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { readModel } from "../../store/read-model.ts";

/** Options of {@link detach}. */
export interface DetachOptions {
  /** The store's name for the weights; the file's name unless given. */
  readonly as?: string | undefined;
  /** Give the name to these weights though another model has it. */
  readonly replace?: boolean | undefined;
  /**
   * Of a text: let globals wait for their weights (`ml_program.extern`) instead of naming resources without bytes. A weight
   * that is one global's value and nothing else has that global's name then.
   */
  readonly extern?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link detachInPlace}. */
export interface DetachInPlaceOptions extends Pick<DetachOptions, "extern" | "onProgress" | "signal"> {
  /** Read every weight once, so that attaching can tell whether it is what it was. */
  readonly hash?: boolean | undefined;
}

/** What a detach did. Sizes in bytes. */
export interface DetachResult {
  /** The thin file. */
  readonly path: string;
  readonly thinBytes: number;
  readonly fileBytes: number;
  readonly weights: number;
  readonly weightBytes: number;
  /** What the store did; `undefined` where the weights stay in their file. */
  readonly added?: AddResult;
  /** What people should know, in sentences. */
  readonly notes: readonly string[];
}

/**
 * Puts the weights of an MLIR file into a store, and writes the program without them: the resources stay declared, and
 * where their bytes are travels inside the thin file, through whatever passes.
 * @throws FormatError, SourceError `exists`, StoreError `name-taken`; LinkError `missing-weight` for a file without any
 */
export async function detach(
  store: LocalStore,
  path: string,
  out: string,
  options: DetachOptions = {},
): Promise<DetachResult> {
  await requireNoFile(out);
  await using mlir = await openMlir(path, options);
  requireWeights(mlir);
  const name = options.as ?? basename(path, extname(path));
  const { replace, onProgress, signal } = options;
  const file = { path: basename(mlir.source.name), source: mlir.source };
  const draft = { ...mlirDraft(file.path, file.source, await mlir.weights(options)), files: [file] };
  const added = await addModel(store, name, draft, { replace, onProgress, signal });
  const model = await readModel(store, added.name);
  const digests = new Map(
    model.config.methods.flatMap((method) => method.weights.map((each) => [each.name, each.digest])),
  );
  const symbols = symbolsOf(mlir, options);
  const weights = mlir.blobs.map(({ key, length, alignment }) => {
    return [symbols.get(key) ?? key, { length, alignment, digest: digests.get(key) as Digest }] as const;
  });
  const result = await writeThin(mlir, out, { model: added.name }, new Map(weights), symbols, options);
  return { ...result, added };
}

/**
 * Writes the program of an MLIR file without its weights, which stay where they are: the thin file says where.
 * @throws FormatError, SourceError `exists`; LinkError `missing-weight` for a file without any
 */
export async function detachInPlace(
  path: string,
  out: string,
  options: DetachInPlaceOptions = {},
): Promise<DetachResult> {
  await requireNoFile(out);
  await using mlir = await openMlir(path, options);
  requireWeights(mlir);
  const symbols = symbolsOf(mlir, options);
  const weights = new Map<string, MlirLinkedWeight>();
  const total = mlir.blobs.reduce((sum, blob) => sum + blob.length, 0);
  let done = 0;
  const source = mlirBlobs(mlir);
  for (const { key, offset, length, alignment } of mlir.blobs) {
    const hash = createSha256();
    if (options.hash) {
      for await (const chunk of streamWeight(source, key, { signal: options.signal, reuse: true })) {
        hash.update(chunk);
        done += chunk.byteLength;
        options.onProgress?.({ done, total });
      }
    }
    const name = symbols.get(key) ?? key;
    const at = { offset, ...(mlir.hex && { hex: true as const }), ...(name !== key && { key }) };
    weights.set(name, {
      length,
      alignment,
      ...(options.hash && { digest: hash.digest() }),
      at,
    });
  }
  const { size, modified } = mlir.source.identity;
  return await writeThin(mlir, out, { path: resolve(path), size, modified }, weights, symbols, options);
}

/**
 * Which resources become globals that wait, and the names of these: not one that another weight has.
 * @throws LinkError `unsupported` where there is none
 */
function symbolsOf(
  { blobs, symbols, source }: OpenMlir,
  { extern }: Pick<DetachOptions, "extern">,
): ReadonlyMap<string, string> {
  if (!extern) return new Map();
  const taken = new Set(blobs.map(({ key }) => key));
  const free = new Map<string, string>();
  for (const { key } of blobs) {
    const symbol = symbols.get(key);
    if (symbol === undefined || (symbol !== key && taken.has(symbol))) continue;
    taken.add(symbol);
    free.set(key, symbol);
  }
  if (free.size > 0) return free;
  const path = source.name;
  throw new LinkError(
    "unsupported",
    `Cannot make globals of "${path}" wait for their weights: no resource is the value of one`,
    { path, hint: "it takes a text with ml_program.global @name(dense_resource<key> : type)" },
  );
}

function requireWeights({ blobs, source, manifest }: OpenMlir): void {
  if (blobs.length > 0) return;
  const hint = manifest
    ? "it was detached already: tare attach --list shows where its weights are"
    : undefined;
  const path = source.name;
  throw new LinkError(
    "missing-weight",
    `Cannot detach "${path}": it has no resources that dense_resource names`,
    { path, ...(hint !== undefined && { hint }) },
  );
}

async function writeThin(
  mlir: OpenMlir,
  out: string,
  where: Pick<MlirLinkedFile, "model" | "path" | "size" | "modified">,
  weights: ReadonlyMap<string, MlirLinkedWeight>,
  symbols: ReadonlyMap<string, string>,
  { signal }: Pick<DetachOptions, "signal">,
): Promise<DetachResult> {
  const { producer, bytecode, source } = mlir;
  const written = producer !== undefined &&
    bytecode !== undefined && { producer: producer.trimEnd(), bytecode };
  const manifest: LinkManifest = { file: { version: 1, ...written, ...where }, weights };
  await source.file.requireUnchanged();
  const chunks = pieceChunks(mlir.thin(manifest, symbols), source, { signal });
  const thinBytes = await writeNewFile(out, chunks, { signal });
  const notes =
    bytecode !== undefined && bytecode >= PROPERTIES_VERSION
      ? [
          `bytecode ${bytecode} is for ${producer} alone: for another LLVM write it anew as text, or with --emit-bytecode-version=4`,
        ]
      : [];
  const weightBytes = [...weights.values()].reduce((sum, each) => sum + each.length, 0);
  return { path: resolve(out), thinBytes, fileBytes: source.size, weights: weights.size, weightBytes, notes };
}
