import { realpath } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { SourceError } from "../errors.ts";
import type { ModelFolder } from "../formats/format.ts";
import { isPlainPath } from "../model/config.ts";
import { fileError, type FileSource, isAbsent, openFileSource } from "./file-source.ts";

/** A model's folder on disk; what it opened is closed with it. */
export interface OpenFolder extends ModelFolder, AsyncDisposable {
  readonly opened: ReadonlyMap<string, FileSource>;
}

/**
 * Opens files that a model names, never outside its own folder: absolute paths and `..` are refused, and so are
 * links that lead out. A model that is itself a link (as in the Hugging Face cache, where model and data both are
 * links into one folder of blobs) may name links that end in the folder where it really is.
 * @param folder the model's folder
 * @param programs the model's own files in it
 */
export function openFolder(folder: string, programs: readonly string[]): OpenFolder {
  const opened = new Map<string, FileSource>();
  return {
    opened,
    async open(path) {
      const plain = path.replace(/^(\.\/)+/, "");
      if (isAbsolute(path) || !isPlainPath(plain))
        throw unsafe(path, "it leads outside of the model's folder");
      const full = join(folder, plain);
      let real: string;
      try {
        real = await realpath(full);
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw fileError(full, "open", error);
      }
      const homes = [await realpath(folder)];
      for (const program of programs) homes.push(dirname(await realpath(join(folder, program))));
      if (!homes.some((home) => isInside(home, real))) {
        throw unsafe(path, `it is a link to "${real}", outside of the model's folder`);
      }
      const source = opened.get(real) ?? (await openFileSource(full));
      opened.set(real, source);
      return source;
    },
    async [Symbol.asyncDispose]() {
      for (const source of opened.values()) await source[Symbol.asyncDispose]();
    },
  };
}

function isInside(home: string, path: string): boolean {
  const way = relative(home, path);
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

function unsafe(path: string, reason: string): SourceError {
  return new SourceError("unsafe-path", `Cannot open "${path}": ${reason}`, {
    path,
    hint: "copy the data file into the model's folder, and save the model with that name",
  });
}
