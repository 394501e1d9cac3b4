import { SourceError } from "../errors.ts";
import { type ByteSource, checkRange, type ReadOptions } from "./byte-source.ts";

/** Options of {@link openHttpSource}. */
export interface HttpSourceOptions extends ReadOptions {
  /** Replaces the global `fetch` (tests, proxies, authentication). */
  readonly fetch?: typeof fetch;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Opens an HTTP(S) resource for range reads (RFC 9110, section 14).
 * A request for the first byte returns size and validator; every later response must be a 206 of exactly the requested
 * range, with the same ETag (or Last-Modified) as the first.
 * @throws SourceError `not-found` (404), `http` (no ranges, wrong status or length), `source-changed`
 */
export async function openHttpSource(
  url: string | URL,
  options: HttpSourceOptions = {},
): Promise<ByteSource> {
  const name = String(url);
  const get = async (first: number, last: number, signal: AbortSignal | undefined): Promise<Response> => {
    try {
      return await (options.fetch ?? fetch)(name, {
        // For a request with a range, fetch asks for no content encoding (Fetch, "HTTP-network-or-cache fetch").
        headers: { ...options.headers, range: `bytes=${first}-${last}` },
        ...(signal && { signal }),
      });
    } catch (cause) {
      signal?.throwIfAborted();
      throw new SourceError("http", `Cannot reach "${name}"`, { path: name, offset: first, cause });
    }
  };

  const probe = await get(0, 0, options.signal);
  await probe.body?.cancel();
  if (probe.status === 404)
    throw new SourceError("not-found", `Cannot find "${name}": HTTP 404`, { path: name });
  // An empty resource has no valid range (RFC 9110, section 14.2): servers refuse the range or ignore it.
  if (probe.status === 416 && contentRange(probe)?.size === 0) return emptySource(name);
  if (probe.status === 200 && probe.headers.get("content-length") === "0") return emptySource(name);
  if (probe.status >= 400)
    throw new SourceError("http", `Cannot read "${name}": HTTP ${probe.status}`, { path: name });
  const size = probe.status === 206 ? contentRange(probe)?.size : undefined;
  if (size === undefined) {
    throw new SourceError(
      "http",
      `Cannot read ranges of "${name}": it answered ${probe.status} to a range request`,
      {
        path: name,
        hint: "Download the file first, or serve it from a server that supports range requests",
      },
    );
  }
  const validator = validatorOf(probe);

  const source: ByteSource = {
    name,
    size,
    remote: { url: name, offset: 0 },
    async read(offset, length, readOptions) {
      checkRange(source, offset, length);
      if (length === 0) return new Uint8Array(0);
      const signal = readOptions?.signal ?? options.signal;
      const response = await get(offset, offset + length - 1, signal);
      const range = contentRange(response);
      const otherSize = range?.size !== undefined && range.size !== size;
      if (otherSize || (response.status === 206 && validatorOf(response) !== validator)) {
        await response.body?.cancel();
        throw new SourceError(
          "source-changed",
          `Cannot continue reading "${name}": it changed since it was opened`,
          {
            path: name,
            offset,
            hint: "Run the command again",
          },
        );
      }
      if (response.status !== 206 || range?.first !== offset || range.last !== offset + length - 1) {
        await response.body?.cancel();
        throw new SourceError(
          "http",
          `Cannot read ${length} bytes at ${offset} of "${name}": HTTP ${response.status}`,
          { path: name, offset },
        );
      }
      return await readExactly(response, length, name, offset, signal);
    },
  };
  return source;
}

/** Reads a body of exactly `length` bytes: a longer or shorter body is an error. */
async function readExactly(
  response: Response,
  length: number,
  name: string,
  offset: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  try {
    for await (const chunk of response.body ?? []) {
      if (filled + chunk.byteLength > length) {
        filled += chunk.byteLength;
        break;
      }
      bytes.set(chunk, filled);
      filled += chunk.byteLength;
    }
  } catch (cause) {
    signal?.throwIfAborted();
    throw new SourceError("short-read", `Cannot finish reading "${name}": the connection broke`, {
      path: name,
      offset: offset + filled,
      cause,
    });
  }
  if (filled !== length) {
    throw new SourceError(
      "short-read",
      `Cannot read "${name}": ${length} bytes at ${offset} were requested, ${filled < length ? filled : "more"} arrived`,
      { path: name, offset },
    );
  }
  return bytes;
}

function contentRange(
  response: Response,
): { first: number; last: number; size: number | undefined } | undefined {
  const header = response.headers.get("content-range") ?? "";
  const match = /^bytes (?:(\d{1,16})-(\d{1,16})|\*)\/(\d{1,16}|\*)$/.exec(header);
  if (!match) return undefined;
  return {
    first: Number(match[1]),
    last: Number(match[2]),
    size: match[3] === "*" ? undefined : Number(match[3]),
  };
}

function validatorOf(response: Response): string | null {
  return response.headers.get("etag") ?? response.headers.get("last-modified");
}

function emptySource(name: string): ByteSource {
  const source: ByteSource = {
    name,
    size: 0,
    async read(offset, length) {
      checkRange(source, offset, length);
      return new Uint8Array(0);
    },
  };
  return source;
}
