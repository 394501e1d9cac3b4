import { type HttpSourceOptions, openHttpSource } from "../io/http-source.ts";
import { FormatError, SourceError } from "../errors.ts";
import type { ModelFolder } from "../formats/format.ts";
import { MODEL_FILES, recognizeFormat } from "../formats/registry.ts";
import { isPlainPath } from "../model/config.ts";
import type { ModelDraft } from "../model/draft.ts";

/**
 * Reads the head of a model on a web server that answers range requests; shards and external data are found beside it.
 * The draft's sources fetch what is read of them, and refuse a resource that changes meanwhile.
 * @throws FormatError, SourceError
 */
export async function openHttpModel(url: string | URL, options: HttpSourceOptions = {}): Promise<ModelDraft> {
  const start = new URL(url);
  const path = decodeURIComponent(start.pathname.slice(start.pathname.lastIndexOf("/") + 1));
  const source = await openHttpSource(start, options);
  const format = await recognizeFormat({ path, source }, options);
  if (!format) {
    throw new FormatError("unknown-format", `Cannot tell the format of "${start}"`, {
      path: String(start),
      hint: `tare reads ${MODEL_FILES.join(", ")}`,
    });
  }
  return format.read([{ path, source }], folderAt(start, options), options);
}

/** Files beside a URL, and below it. */
function folderAt(start: URL, options: HttpSourceOptions): ModelFolder {
  return {
    async open(path, { signal } = {}) {
      const plain = path.replace(/^(\.\/)+/, "");
      if (!isPlainPath(plain)) {
        throw new SourceError("unsafe-path", `Cannot open "${path}": it leads outside of "${start}"`, {
          path,
        });
      }
      const url = new URL(plain.split("/").map(encodeURIComponent).join("/"), start);
      try {
        return await openHttpSource(url, { ...options, ...(signal && { signal }) });
      } catch (error) {
        if (error instanceof SourceError && error.code === "not-found") return undefined;
        throw error;
      }
    },
  };
}
