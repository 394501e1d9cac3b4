import type { ReadOptions } from "../io/byte-source.ts";
import { FormatError, SourceError } from "../errors.ts";
import { formatById } from "../formats/registry.ts";
import { isPlainPath, type StoredFile } from "../model/config.ts";
import type { MethodDraft, WeightDraft } from "../model/draft.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobReader } from "./store.ts";
import { type StoredSource, storedSource } from "./stored-source.ts";

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
): Promise<MethodDraft[]> {
  const { files, methods } = model.config;
  const sources: StoredSource[] = [];
  const open = (file: StoredFile): StoredSource => {
    const source = storedSource(store, model, file);
    sources.push(source);
    return source;
  };
  try {
    const programs = [...new Set(methods.map((method) => method.file))].map((index) => {
      const file = files[index] as StoredFile;
      return { path: file.path, source: open(file) };
    });
    const format = formatById(model.config.format);
    if (!format) throw disagree(model, `their format "${model.config.format}" is unknown`);
    const folder = {
      async open(path: string): Promise<StoredSource | undefined> {
        const plain = path.replace(/^(\.\/)+/, "");
        if (!isPlainPath(plain)) throw new SourceError("unsafe-path", `Cannot open "${path}"`, { path });
        const file = files.find((each) => each.path === plain);
        return file && open(file);
      },
    };
    const draft = await format.read(programs, folder, options);
    const indices = draft.files.map(({ path }) => files.findIndex((file) => file.path === path));
    const place = (weight: WeightDraft): WeightDraft => {
      return { ...weight, at: { ...weight.at, file: indices[weight.at.file] as number } };
    };
    return methods.map((method) => {
      const read = draft.methods.find((each) => each.name === method.name);
      if (!read) throw disagree(model, `they have no method "${method.name}"`);
      return {
        ...read,
        file: method.file,
        weights: read.weights.map(place),
        constants: read.constants.map(place),
      };
    });
  } finally {
    for (const source of sources) await source[Symbol.asyncDispose]();
  }
}

function disagree(model: StoredModel, reason: string): FormatError {
  return new FormatError("mismatch", `Cannot read the files of "${model.name}": ${reason}`, {
    path: model.name,
    hint: "Add the model's files again",
  });
}
