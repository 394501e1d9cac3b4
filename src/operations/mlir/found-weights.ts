import { stat } from "node:fs/promises";
import { extname, resolve } from "node:path";
import type { ReadOptions } from "../../io/byte-source.ts";
import { isEncoded } from "../../io/byte-encoding.ts";
import { LinkError, SourceError, TareError } from "../../errors.ts";
import type { MlirLinkedWeight, LinkManifest } from "../../formats/mlir/link-manifest.ts";
import { modelWeights, type StoredModel } from "../../model/stored-model.ts";
import type { Digest } from "../../tensor/digest.ts";
import { type DType, tensorBytes } from "../../tensor/dtype.ts";
import type { Location } from "../../model/manifest.ts";
import type { FileIdentity, FileSource } from "../../node/file-source.ts";
import { openModel } from "../../node/open-model.ts";
import type { FileStore } from "../../local-store/file-store.ts";
import { type ByteRange, rangeChunks } from "./chunks.ts";
import { openMlir } from "./open.ts";

/** A weight that can be attached. */
export interface FoundWeight {
  /** In bytes. */
  readonly length: number;
  /** `undefined` where nothing says one. */
  readonly alignment: number | undefined;
  readonly digest: Digest | undefined;
  /** Of which type it is, where that is known. */
  readonly tensor: { readonly dtype: DType; readonly shape: readonly number[] } | undefined;
  /** How people call the place. */
  readonly where: string;
  /** Its bytes, as they come. */
  read(options: ReadOptions): AsyncIterable<Uint8Array>;
}

/** Weights by key. Dispose it to close what was opened. */
export interface FoundWeights extends AsyncDisposable {
  readonly keys: readonly string[];
  /** @returns `undefined` for a key that is not among them */
  get(key: string): FoundWeight | undefined;
}

/** The store, opened when it is needed. */
export type OpenFileStore = () => Promise<FileStore>;

/**
 * Finds weights where a thin file says that they are.
 * @throws LinkError `missing-weight` if neither the store nor a file has them; SourceError `source-changed`
 */
export async function foundByManifest(
  { file, weights }: LinkManifest,
  thin: string,
  openStore: OpenFileStore,
  options: ReadOptions,
): Promise<FoundWeights> {
  if (file.path !== undefined) return await foundInPlace(file.path, { file, weights }, thin, options);
  const store = await openStore();
  const places = await placesOf(store, file.model);
  return {
    keys: [...weights.keys()],
    get(key) {
      const weight = weights.get(key);
      const location = weight?.digest === undefined ? undefined : places.get(weight.digest);
      if (!weight || !location || location.length !== weight.length) return undefined;
      return {
        ...weightOf(weight),
        where: `store: ${file.model ?? "?"}`,
        read: (options) => blobChunks(store, location, key, options),
      };
    },
    async [Symbol.asyncDispose]() {},
  };
}

function weightOf({ length, alignment, digest }: MlirLinkedWeight): Omit<FoundWeight, "where" | "read"> {
  return { length, alignment, digest, tensor: undefined };
}

/** Where the store has the bytes of every weight: those of the model named come first, all others may have them too. */
async function placesOf(store: FileStore, name: string | undefined): Promise<Map<Digest, Location>> {
  const models = await store.models();
  models.sort((a, b) => Number(b.name === name) - Number(a.name === name));
  const places = new Map<Digest, Location>();
  for (const model of models) {
    for (const { digest } of modelWeights(model.config)) {
      const location = model.locations.get(digest);
      if (location && !places.has(digest)) places.set(digest, location);
    }
  }
  return places;
}

async function* blobChunks(
  store: FileStore,
  { blob, offset, length }: Location,
  key: string,
  options: ReadOptions,
): AsyncGenerator<Uint8Array> {
  await using source = await store.openBlob(blob);
  yield* rangeChunks(source, { offset, length, hex: false }, key, options);
}

/**
 * The file must still be MLIR that has each key where the thin file says: a thin file may come from anywhere, and what
 * it names is not to end up in what is written otherwise.
 */
async function foundInPlace(
  path: string,
  { file, weights }: LinkManifest,
  thin: string,
  options: ReadOptions,
): Promise<FoundWeights> {
  const there = await foundInMlir(path, options).catch((cause: unknown) => {
    if (!(cause instanceof TareError)) throw cause;
    throw new LinkError(
      "missing-weight",
      `Cannot attach the weights of "${thin}": "${path}" cannot be read`,
      {
        path,
        cause,
        hint: "name the place that has them now: --from FILE",
      },
    );
  });
  const { size, modified } = there.identity;
  const changed = size !== file.size || modified !== file.modified;
  return {
    keys: [...weights.keys()],
    get(key) {
      const weight = weights.get(key);
      const found = there.get(weight?.at?.key ?? key);
      if (!weight || !found) return undefined;
      // A weight that was hashed is known again; of another the file's word is all there is.
      const moved = found.offset !== weight.at?.offset || found.length !== weight.length;
      if (weight.digest === undefined && (changed || moved)) throw wasChanged(path, key);
      return { ...found, alignment: weight.alignment, digest: weight.digest };
    },
    [Symbol.asyncDispose]: () => there[Symbol.asyncDispose](),
  };
}

function wasChanged(path: string, tensor: string): SourceError {
  return new SourceError(
    "source-changed",
    `Cannot attach "${tensor}": "${path}" changed since it was detached`,
    {
      path,
      tensor,
      hint: "detach with --hash to know weights again, or name another place: --from FILE",
    },
  );
}

/**
 * Finds weights by name: in a file of any format, or in a model of the store.
 * @param from a path, or a model's name where no file is there
 */
export async function foundIn(
  from: string,
  openStore: OpenFileStore,
  options: ReadOptions,
): Promise<FoundWeights> {
  const there = await stat(from).catch(() => undefined);
  if (!there) return foundInModel(await openStore(), from);
  if (there.isFile() && [".mlir", ".mlirbc", ".bc"].includes(extname(from).toLowerCase())) {
    return await foundInMlir(from, options);
  }
  const model = await openModel([from], options);
  const weights = new Map<string, FoundWeight>();
  for (const { name, dtype, shape, at } of model.draft.methods.flatMap((method) => method.weights)) {
    const range: ByteRange = { offset: at.offset, length: at.length, hex: false };
    // Elements that are spelled are not what a compiler reads.
    if (isEncoded(at) || tensorBytes(dtype, shape) !== at.length) continue;
    refuseTwice(weights, name, from);
    const source = model.files[at.file] as FileSource;
    weights.set(name, {
      length: at.length,
      alignment: undefined,
      digest: undefined,
      tensor: model.draft.format === "mlir" ? undefined : { dtype, shape },
      where: from,
      read: (read) => rangeChunks(source, range, name, read),
    });
  }
  return found(weights, async () => model[Symbol.asyncDispose]());
}

function foundInModel(store: FileStore, name: string): Promise<FoundWeights> {
  return store.model(name).then((model: StoredModel) => {
    const weights = new Map<string, FoundWeight>();
    const { format, methods } = model.config;
    for (const { name: key, dtype, shape, digest } of methods.flatMap((method) => method.weights)) {
      const location = model.locations.get(digest);
      if (!location) continue;
      refuseTwice(weights, key, name, digest);
      weights.set(key, {
        length: location.length,
        alignment: undefined,
        digest,
        tensor: format === "mlir" ? undefined : { dtype, shape },
        where: `store: ${name}`,
        read: (options) => blobChunks(store, location, key, options),
      });
    }
    return found(weights, async () => {});
  });
}

/** What is found in an MLIR file, which is known by what it was when it was opened. */
interface FoundInMlir extends FoundWeights {
  readonly identity: FileIdentity;
  get(key: string): (FoundWeight & { readonly offset: number }) | undefined;
}

async function foundInMlir(path: string, options: ReadOptions): Promise<FoundInMlir> {
  const { blobs, hex, source } = await openMlir(path, options);
  const weights = new Map(
    blobs.map(({ key, offset, length, alignment }) => {
      const range: ByteRange = { offset, length, hex };
      const read = (each: ReadOptions): AsyncIterable<Uint8Array> => rangeChunks(source, range, key, each);
      const known = { offset, length, alignment, digest: undefined, tensor: undefined };
      return [key, { ...known, where: resolve(path), read }] as const;
    }),
  );
  return {
    identity: source.identity,
    keys: [...weights.keys()],
    get: (key) => weights.get(key),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

function found(weights: ReadonlyMap<string, FoundWeight>, close: () => Promise<void>): FoundWeights {
  return { keys: [...weights.keys()], get: (key) => weights.get(key), [Symbol.asyncDispose]: close };
}

/** Methods of a model may have weights of one name: which is meant is clear only if they are the same. */
function refuseTwice(
  weights: ReadonlyMap<string, FoundWeight>,
  tensor: string,
  from: string,
  digest?: Digest,
): void {
  const before = weights.get(tensor);
  if (!before || (digest !== undefined && before.digest === digest)) return;
  throw new LinkError("duplicate", `Cannot attach from "${from}": it has two weights "${tensor}"`, {
    path: from,
    tensor,
  });
}
