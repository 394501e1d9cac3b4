import { SourceError } from "../errors.ts";
import { isLocalHost } from "./local-host.ts";

/** Number of redirects that a request follows. */
const MAX_REDIRECTS = 5;
/** Default of both time limits, in milliseconds. */
const TIME_LIMIT_MS = 30_000;
/** Timers above this fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const REDIRECTS = [301, 302, 303, 307, 308];

/** Options of {@link requestRange}. */
export interface HttpRequestOptions {
  /** Replaces the global `fetch` (tests, proxies, authentication). */
  readonly fetch?: typeof fetch;
  /** Sent with each request, except to another origin after a redirect. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Time limit for a connection and the headers of an answer, in milliseconds; 30,000 unless given. */
  readonly headersTimeoutMs?: number;
  /** Time limit for each wait for bytes of an answer, in milliseconds; 30,000 unless given. */
  readonly idleTimeoutMs?: number;
}

/** An answer whose body is not read yet. {@link read} it or {@link end} it. */
export interface HttpAnswer {
  readonly response: Response;
  /**
   * Reads a body of exactly `length` bytes.
   * @param offset of the bytes in the resource, for errors
   * @throws SourceError `short-read` for a longer or shorter body, or a broken connection; `http` after the time limit
   */
  read(length: number, offset: number): Promise<Uint8Array>;
  /** Ends the request. */
  end(): void;
}

/**
 * Requests a range of bytes. Follows up to 5 redirects, but none from https to http, and none from a public host to a host of
 * this machine or its network ({@link isLocalHost}).
 * @param last offset of the last byte
 * @throws SourceError `http` (no connection, a refused redirect, a time limit); the reason of `signal`
 */
export async function requestRange(
  name: string,
  first: number,
  last: number,
  options: HttpRequestOptions,
  signal: AbortSignal | undefined,
): Promise<HttpAnswer> {
  const { headersTimeoutMs = TIME_LIMIT_MS } = options;
  const start = urlOf(name);
  const ended = new AbortController();
  const end = (): void => ended.abort();
  const send = async (url: URL, redirect: RequestRedirect): Promise<Response> => {
    const own = url.origin === start.origin ? options.headers : undefined;
    const sent = (options.fetch ?? fetch)(String(url), {
      // For a request with a range, fetch asks for no content encoding (Fetch, "HTTP-network-or-cache fetch").
      headers: { ...own, range: `bytes=${first}-${last}` },
      redirect,
      signal: signal ? AbortSignal.any([signal, ended.signal]) : ended.signal,
    });
    try {
      return await inTime(sent, headersTimeoutMs, end);
    } catch (cause) {
      signal?.throwIfAborted();
      const where = url.href === start.href ? "" : ` at "${url}"`;
      const why = cause instanceof Silence ? `${where}: no answer in ${headersTimeoutMs / 1000} s` : where;
      throw new SourceError("http", `Cannot reach "${name}"${why}`, { path: name, offset: first, cause });
    }
  };
  let url = start;
  for (let count = 0; ; count++) {
    let response = await send(url, "manual");
    // A browser does not show where a redirect leads; it has its own rules for redirects.
    if (response.type === "opaqueredirect") response = await send(url, "follow");
    if (!REDIRECTS.includes(response.status)) {
      const read = (length: number, offset: number): Promise<Uint8Array> =>
        readExactly(response, {
          name,
          offset,
          length,
          signal,
          end,
          idleMs: options.idleTimeoutMs ?? TIME_LIMIT_MS,
        });
      return { response, read, end };
    }
    await response.body?.cancel();
    const location = response.headers.get("location");
    if (count === MAX_REDIRECTS) throw refused(name, location, `it is redirect ${count + 1}`);
    url = targetOf(name, url, location);
  }
}

/** Parses a URL; in a browser, one relative to its page too. */
function urlOf(name: string): URL {
  const { location } = globalThis as { readonly location?: { readonly href: string } };
  if (URL.canParse(name, location?.href)) return new URL(name, location?.href);
  throw new SourceError("http", `Cannot reach "${name}": it is no URL`, { path: name });
}

/** Checks where a redirect leads. */
function targetOf(name: string, from: URL, location: string | null): URL {
  if (location === null || !URL.canParse(location, from.href)) throw refused(name, location, "it is no URL");
  const to = new URL(location, from);
  if (to.protocol !== "https:" && to.protocol !== "http:")
    throw refused(name, location, "it is no web address");
  if (from.protocol === "https:" && to.protocol === "http:") throw refused(name, location, "it leaves https");
  if (isLocalHost(to) && !isLocalHost(from)) {
    throw refused(name, location, `"${to.hostname}" is an address of this machine or its network`);
  }
  return to;
}

function refused(name: string, location: string | null, reason: string): SourceError {
  return new SourceError(
    "http",
    `Cannot follow the redirect of "${name}" to "${location ?? ""}": ${reason}`,
    {
      path: name,
      hint: "Name the URL of the resource itself, if you trust it",
    },
  );
}

interface Body {
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  readonly signal: AbortSignal | undefined;
  readonly end: () => void;
  readonly idleMs: number;
}

async function readExactly(
  response: Response,
  { name, offset, length, signal, end, idleMs }: Body,
): Promise<Uint8Array> {
  const wrongLength = (count: number): SourceError => {
    end();
    const arrived = count < length ? count : "more";
    return new SourceError(
      "short-read",
      `Cannot read "${name}": ${length} bytes at ${offset} were requested, ${arrived} arrived`,
      { path: name, offset },
    );
  };
  const said = response.headers.get("content-length");
  if (said !== null && Number(said) !== length) throw wrongLength(Number(said));
  const bytes = new Uint8Array(length);
  const reader = response.body?.getReader();
  for (let filled = 0; ; ) {
    let chunk: Uint8Array | undefined;
    try {
      chunk = reader && (await inTime(reader.read(), idleMs, end)).value;
    } catch (cause) {
      signal?.throwIfAborted();
      const [code, why] =
        cause instanceof Silence
          ? (["http", `the server sent nothing for ${idleMs / 1000} s`] as const)
          : (["short-read", "the connection broke"] as const);
      throw new SourceError(code, `Cannot finish reading "${name}": ${why}`, {
        path: name,
        offset: offset + filled,
        cause,
      });
    }
    if (!chunk && filled === length) return bytes;
    if (!chunk) throw wrongLength(filled);
    if (filled + chunk.byteLength > length) throw wrongLength(filled + chunk.byteLength);
    bytes.set(chunk, filled);
    filled += chunk.byteLength;
  }
}

/** The time limit of a step ended. */
class Silence extends SourceError {}

/**
 * Waits for a step of a request.
 * @param end called at the time limit
 */
async function inTime<T>(step: Promise<T>, limitMs: number, end: () => void): Promise<T> {
  if (!(limitMs <= MAX_TIMER_MS)) return step;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Silence("http", `Nothing arrived in ${limitMs / 1000} s`));
      end();
    }, limitMs);
  });
  try {
    return await Promise.race([step, limit]);
  } finally {
    clearTimeout(timer);
  }
}
