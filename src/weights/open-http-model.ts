import { type HttpSource, type HttpSourceOptions, openHttpSource } from "../io/http-source.ts";
import { FormatError, SourceError } from "../errors.ts";
import type { ModelFolder } from "../formats/format.ts";
import { MODEL_FILES, recognizeFormat } from "../formats/registry.ts";
import { isPlainPath } from "../model/config.ts";
import type { ModelDraft } from "../model/draft.ts";

/**
 * Reads the header of a model on a web server that supports range requests, and opens its shards and external data
 * beside it. The draft's sources fetch ranges on demand, and throw if a resource has changed.
 * @throws FormatError, SourceError
 */
export async function openHttpModel(url: string | URL, options: HttpSourceOptions = {}): Promise<ModelDraft> {
  const start = new URL(url);
  const path = decodeURIComponent(start.pathname.slice(start.pathname.lastIndexOf("/") + 1));
  const source = await openHttpSource(start, options);
  const format = await recognizeFormat({ path, source }, options);
  if (!format) {
    throw new FormatError(
      "unknown-format",
      `Cannot find the format of "${start}": neither its first bytes nor its name are known`,
      {
        path: String(start),
        hint: `Use a file that tare reads: ${MODEL_FILES.join(", ")}`,
      },
    );
  }
  const sources = [source];
  const draft = await format.read([{ path, source }], folderAt(start, options, sources), options);
  const unvalidated = sources.filter((each) => each.size > 0 && !each.hasValidator);
  if (unvalidated.length === 0) return draft;
  const names = unvalidated.map((each) => each.name).join(", ");
  const note = `The server gives no ETag and no Last-Modified of ${names}: a change that keeps the size is not noticed`;
  return { ...draft, notes: [...(draft.notes ?? []), note] };
}

/**
 * Opens files beside a URL, or in folders beside it.
 * @param sources receives the opened files
 */
function folderAt(start: URL, options: HttpSourceOptions, sources: HttpSource[]): ModelFolder {
  return {
    async open(path, { signal } = {}) {
      const plain = path.replace(/^(\.\/)+/, "");
      if (!isPlainPath(plain)) {
        throw new SourceError(
          "unsafe-path",
          `Cannot open "${path}": it is outside of the folder of "${start}"`,
          {
            path,
          },
        );
      }
      const url = new URL(plain.split("/").map(encodeURIComponent).join("/"), start);
      try {
        const source = await openHttpSource(url, { ...options, ...(signal && { signal }) });
        sources.push(source);
        return source;
      } catch (error) {
        if (error instanceof SourceError && error.code === "not-found") return undefined;
        throw error;
      }
    },
  };
}
