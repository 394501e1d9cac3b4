import type { ReadOptions } from "../io/byte-source.ts";
import { FormatError, SourceError } from "../errors.ts";
import { formatById } from "../formats/registry.ts";
import { isPlainPath, type StoredFile } from "../model/config.ts";
import type { FileDraft, MethodDraft, WeightDraft } from "../model/draft.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobReader } from "./store.ts";
import { type StoredSource, storedSource } from "./stored-source.ts";

/** The methods of a model of the store, and its files, open. Dispose it to close them. */
export interface OpenMethods extends AsyncDisposable {
  readonly methods: readonly MethodDraft[];
  /** Those of the config, in its order; each is opened on its first use. */
  readonly files: readonly FileDraft[];
}

/**
 * Reads the files of a stored model with the reader of their format, to find the range of every weight. The config
 * alone is ambiguous: it has weights by name and holes by digest, and weights of equal bytes have one digest.
 * @returns the methods of the files; `file` is an index into the files of the config
 * @throws FormatError `mismatch` if the files contradict the config
 */
export async function rereadMethods(
  store: BlobReader,
  model: StoredModel,
  options: ReadOptions = {},
): Promise<readonly MethodDraft[]> {
  await using opened = await openMethods(store, model, options);
  return opened.methods;
}

/**
 * Does what {@link rereadMethods} does, and leaves the files open, from which loose tensors are read.
 * @throws FormatError what {@link rereadMethods} throws
 */
export async function openMethods(
  store: BlobReader,
  model: StoredModel,
  options: ReadOptions = {},
): Promise<OpenMethods> {
  const { files, methods } = model.config;
  const sources = files.map((file) => storedSource(store, model, file));
  const close = async (): Promise<void> => {
    for (const source of sources) await source[Symbol.asyncDispose]();
  };
  const sourceOf = (path: string): StoredSource | undefined =>
    sources[files.findIndex((each) => each.path === path)];
  try {
    const programs = [...new Set(methods.map((method) => method.file))].map((index) => {
      return { path: (files[index] as StoredFile).path, source: sources[index] as StoredSource };
    });
    const format = formatById(model.config.format);
    if (!format) throw disagree(model, `their format "${model.config.format}" is unknown`);
    const folder = {
      async open(path: string): Promise<StoredSource | undefined> {
        const plain = path.replace(/^(\.\/)+/, "");
        if (!isPlainPath(plain)) throw new SourceError("unsafe-path", `Cannot open "${path}"`, { path });
        return sourceOf(plain);
      },
    };
    const draft = await format.read(programs, folder, options);
    const indices = draft.files.map(({ path }) => files.findIndex((file) => file.path === path));
    const place = (weight: WeightDraft): WeightDraft => {
      return { ...weight, at: { ...weight.at, file: indices[weight.at.file] as number } };
    };
    const read = methods.map((method) => {
      const found = draft.methods.find((each) => each.name === method.name);
      if (!found) throw disagree(model, `they have no method "${method.name}"`);
      return {
        ...found,
        file: method.file,
        weights: found.weights.map(place),
        constants: found.constants.map(place),
      };
    });
    const opened = files.map(({ path }, nth) => ({ path, source: sources[nth] as StoredSource }));
    return { methods: read, files: opened, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

function disagree(model: StoredModel, reason: string): FormatError {
  return new FormatError("mismatch", `Cannot read the files of "${model.name}": ${reason}`, {
    path: model.name,
    hint: "Add the model's files again",
  });
}
