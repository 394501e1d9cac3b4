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
  /** Name of the weights in the store; the file's name unless given. */
  readonly as?: string | undefined;
  /** Take the name even if another model has it. */
  readonly replace?: boolean | undefined;
  /**
   * For text files: declare globals without a value (`ml_program.extern`) instead of naming resources without bytes. A
   * weight that is the value of exactly one global then has that global's name.
   */
  readonly extern?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link detachInPlace}. */
export interface DetachInPlaceOptions extends Pick<DetachOptions, "extern" | "onProgress" | "signal"> {
  /** Hash every weight, so that `attach` can check it. */
  readonly hash?: boolean | undefined;
}

/** Result of a detach. Sizes in bytes. */
export interface DetachResult {
  /** Path of the thin file. */
  readonly path: string;
  readonly thinBytes: number;
  readonly fileBytes: number;
  readonly weights: number;
  readonly weightBytes: number;
  /** Result of the add; `undefined` if the weights stay in their file. */
  readonly added?: AddResult;
  /** Notes for people. */
  readonly notes: readonly string[];
}

/**
 * Adds the weights of an MLIR file to a store, and writes the program without them. The resources stay declared. The thin
 * file records where their bytes are, and keeps that record through compiler passes.
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
 * Writes the program of an MLIR file without its weights. The weights stay in the original file, and the thin file
 * records their offsets.
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
 * Finds the resources that become globals without a value, and the names of these globals. Skips globals whose name
 * another weight has.
 * @throws LinkError `unsupported` if there is no such resource
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
    `Cannot declare globals of "${path}" as external: no resource is the value of a global`,
    { path, hint: "Use a text file with ml_program.global @name(dense_resource<key> : type)" },
  );
}

function requireWeights({ blobs, source, manifest }: OpenMlir): void {
  if (blobs.length > 0) return;
  const hint = manifest
    ? "It is already detached: list the places of its weights with tare attach --list"
    : undefined;
  const path = source.name;
  throw new LinkError(
    "missing-weight",
    `Cannot detach "${path}": it has no dense_resource attributes with bytes`,
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
          `only ${producer} reads bytecode ${bytecode} reliably: for another LLVM, convert the file to text, or with --emit-bytecode-version=4`,
        ]
      : [];
  const weightBytes = [...weights.values()].reduce((sum, each) => sum + each.length, 0);
  return { path: resolve(out), thinBytes, fileBytes: source.size, weights: weights.size, weightBytes, notes };
}
