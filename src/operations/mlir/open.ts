import type { ReadOptions } from "../../io/byte-source.ts";
import { hasBytecode, type MlirBytecode, readBytecode } from "../../formats/mlir/bytecode.ts";
import { fillText, missingKeys, textManifest, thinText } from "../../formats/mlir/edit-text.ts";
import { declaredKeys, fillBytecode, type FilledBytecode } from "../../formats/mlir/fill-bytecode.ts";
import type { LinkManifest } from "../../formats/mlir/link-manifest.ts";
import type { BlobLayout, MlirPiece } from "../../formats/mlir/piece.ts";
import { bytecodeWeights, textWeights } from "../../formats/mlir/read.ts";
import { type MlirText, readMlirText, textBlobs } from "../../formats/mlir/text.ts";
import type { TextType } from "../../formats/mlir/text-types.ts";
import {
  bytecodeManifest,
  type DetachableBlob,
  detachableBlobs,
  thinBytecode,
} from "../../formats/mlir/thin-bytecode.ts";
import type { WeightDraft } from "../../model/draft.ts";
import { type FileSource, openFileSource } from "../../node/file-source.ts";

/** An open MLIR file, in bytecode or text. Dispose it to close the file. */
export interface OpenMlir extends AsyncDisposable {
  readonly source: FileSource;
  /** Version of its bytecode; `undefined` for text. */
  readonly bytecode: number | undefined;
  /** Producer string of its bytecode, such as an LLVM version; `undefined` for text. */
  readonly producer: string | undefined;
  /** Whether its blobs are encoded as hexadecimal text. */
  readonly hex: boolean;
  /** Blobs that can be detached. */
  readonly blobs: readonly DetachableBlob[];
  /** Keys of resources without bytes. */
  readonly missing: readonly string[];
  /** Names of globals without a value. A weight of that name, or another tool, may provide the value. */
  readonly externs: readonly string[];
  /** Record of the places of its weights; `undefined` for a file that was not detached. */
  readonly manifest: LinkManifest | undefined;
  /** Types that the program gives to a resource; empty for bytecode. */
  types(key: string): readonly TextType[];
  /** The blobs as weights of a model draft. */
  weights(options: ReadOptions): Promise<readonly WeightDraft[]>;
  /** Names of globals by the key of the resource that is their value, if that resource has no other use. */
  readonly symbols: ReadonlyMap<string, string>;
  /**
   * Lays out the file without the blobs of a manifest.
   * @param symbols subset of {@link OpenMlir.symbols} whose globals have no value in the new file; the manifest has their
   * weights by the names of the globals
   */
  thin(manifest: LinkManifest, symbols?: ReadonlyMap<string, string>): readonly MlirPiece[];
  /** Lays out the file with bytes for its missing resources, and without a manifest. */
  filled(weights: ReadonlyMap<string, BlobLayout>): FilledBytecode;
}

/**
 * Opens an MLIR file and finds its resources, without reading their bytes.
 * @throws FormatError, SourceError
 */
export async function openMlir(path: string, options: ReadOptions = {}): Promise<OpenMlir> {
  const source = await openFileSource(path);
  try {
    const file = (await hasBytecode(source, options))
      ? fromBytecode(await readBytecode(source, options))
      : await fromText(await readMlirText(source, options), options);
    return { ...file, source, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() };
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

type Form = Omit<OpenMlir, "source" | typeof Symbol.asyncDispose>;

function fromBytecode(file: MlirBytecode): Form {
  return {
    bytecode: file.version,
    producer: file.producer,
    hex: false,
    blobs: detachableBlobs(file),
    missing: declaredKeys(file),
    externs: [],
    manifest: bytecodeManifest(file),
    types: () => [],
    weights: async () => bytecodeWeights(file, 0),
    symbols: new Map(),
    thin: (manifest) => thinBytecode(file, manifest),
    filled: (weights) => fillBytecode(file, weights),
  };
}

async function fromText(file: MlirText, options: ReadOptions): Promise<Form> {
  const types = new Map<string, TextType[]>();
  for (const { key, type } of [...file.uses, ...file.externs]) {
    const known = types.get(key) ?? [];
    if (type) known.push(type);
    types.set(key, known);
  }
  return {
    bytecode: undefined,
    producer: undefined,
    hex: true,
    blobs: await textBlobs(file, options),
    missing: missingKeys(file),
    externs: [...new Set(file.externs.map((each) => each.key))],
    manifest: textManifest(file),
    types: (key) => types.get(key) ?? [],
    weights: (read) => textWeights(file, 0, read),
    symbols: new Map(file.globals.map(({ key, resource = "" }) => [resource, key])),
    thin: (manifest, symbols) => thinText(file, manifest, symbols),
    filled: (weights) => ({ pieces: fillText(file, weights), notes: [] }),
  };
}
