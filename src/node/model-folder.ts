import { realpath } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { SourceError } from "../errors.ts";
import type { ModelFolder } from "../formats/format.ts";
import { isPlainPath } from "../model/config.ts";
import { fileError, type FileSource, isAbsent, openFileSource } from "./file-source.ts";
import { isInside } from "./foreign-link.ts";

/** A model's folder on disk. Dispose it to close the files that it opened. */
export interface OpenFolder extends ModelFolder, AsyncDisposable {
  readonly opened: ReadonlyMap<string, FileSource>;
}

/**
 * Opens files that a model names, only inside of its folder: absolute paths, `..` and links out of the folder are
 * refused. If a program is a link (in the Hugging Face cache, model and data are links into one folder of blobs), links
 * into the folder of its target are allowed.
 * @param folder the model's folder
 * @param programs the model's programs, relative to the folder
 */
export function openFolder(folder: string, programs: readonly string[]): OpenFolder {
  const opened = new Map<string, FileSource>();
  return {
    opened,
    async open(path) {
      const plain = path.replace(/^(\.\/)+/, "");
      if (isAbsolute(path) || !isPlainPath(plain)) throw unsafe(path, "it is outside of the model's folder");
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

function unsafe(path: string, reason: string): SourceError {
  return new SourceError("unsafe-path", `Cannot open "${path}": ${reason}`, {
    path,
    hint: "Copy the data file into the model's folder, and save the model with that name",
  });
}
