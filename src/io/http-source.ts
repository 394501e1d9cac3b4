import { SourceError } from "../errors.ts";
import { type ByteSource, checkRange, type ReadOptions } from "./byte-source.ts";
import { type HttpAnswer, type HttpRequestOptions, requestRange } from "./http-request.ts";

/** Options of {@link openHttpSource}. */
export interface HttpSourceOptions extends ReadOptions, HttpRequestOptions {}

/** A resource of a web server. */
export interface HttpSource extends ByteSource {
  /** Whether the server gives an ETag or Last-Modified: without, only a change of the size is found. */
  readonly hasValidator: boolean;
}

/** What identifies the state of a resource. */
interface State {
  readonly size: number;
  readonly etag: string | null;
  readonly modified: string | null;
}

/**
 * Opens an HTTP(S) resource for range reads (RFC 9110, section 14).
 * A request for the first byte returns size and validators; every later response must be a 206 of exactly the requested
 * range, with the same size, ETag and Last-Modified as the first, and without a content encoding.
 * @throws SourceError `not-found` (404), `http` (no ranges, wrong status, a redirect that is refused, a time limit),
 * `short-read`, `source-changed`
 */
export async function openHttpSource(
  url: string | URL,
  options: HttpSourceOptions = {},
): Promise<HttpSource> {
  const name = String(url);
  const probe = await requestRange(name, 0, 0, options, options.signal);
  const state = await stateOf(name, probe);
  const { size } = state;
  const source: HttpSource = {
    name,
    size,
    hasValidator: state.etag !== null || state.modified !== null,
    ...(size > 0 && { remote: { url: name, offset: 0 } }),
    async read(offset, length, readOptions) {
      checkRange(source, offset, length);
      if (length === 0) return new Uint8Array(0);
      const last = offset + length - 1;
      const answer = await requestRange(name, offset, last, options, readOptions?.signal ?? options.signal);
      const failure = checkAnswer(name, answer, offset, last, state);
      if (!failure) return answer.read(length, offset);
      answer.end();
      throw failure;
    },
  };
  return source;
}

/** Reads the state of a resource from the answer to a request of its first byte. */
async function stateOf(name: string, answer: HttpAnswer): Promise<State> {
  const { response } = answer;
  const { status, headers } = response;
  const range = contentRange(response);
  const [etag, modified] = validatorsOf(response);
  // An empty resource has no valid range (RFC 9110, section 14.2): servers refuse the range or ignore it.
  const isEmpty =
    (status === 416 && range?.size === 0) || (status === 200 && headers.get("content-length") === "0");
  if (
    status === 206 &&
    range?.size !== undefined &&
    range.first === 0 &&
    range.last === 0 &&
    !encodingOf(response)
  ) {
    await answer.read(1, 0);
    return { size: range.size, etag, modified };
  }
  answer.end();
  if (isEmpty) return { size: 0, etag, modified };
  if (status === 404) throw new SourceError("not-found", `Cannot find "${name}": HTTP 404`, { path: name });
  if (status >= 400) throw new SourceError("http", `Cannot read "${name}": HTTP ${status}`, { path: name });
  if (encodingOf(response)) throw encoded(name, response, 0);
  throw new SourceError("http", `Cannot read ranges of "${name}": it answered ${status} to a range request`, {
    path: name,
    hint: "Download the file first, or serve it from a server that supports range requests",
  });
}

/** Compares an answer with the request and with the state at the start. */
function checkAnswer(
  path: string,
  { response }: HttpAnswer,
  offset: number,
  last: number,
  state: State,
): SourceError | undefined {
  const { status } = response;
  const range = contentRange(response);
  const [etag, modified] = validatorsOf(response);
  const isOther = etag !== state.etag || modified !== state.modified;
  if ((range?.size !== undefined && range.size !== state.size) || (status === 206 && isOther)) {
    return new SourceError(
      "source-changed",
      `Cannot continue reading "${path}": it changed since it was opened`,
      {
        path,
        offset,
        hint: "Run the command again",
      },
    );
  }
  if (status !== 206 || range?.size === undefined || range.first !== offset || range.last !== last) {
    const length = last - offset + 1;
    return new SourceError("http", `Cannot read ${length} bytes at ${offset} of "${path}": HTTP ${status}`, {
      path,
      offset,
    });
  }
  return encodingOf(response) ? encoded(path, response, offset) : undefined;
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

function validatorsOf({ headers }: Response): readonly [string | null, string | null] {
  return [headers.get("etag"), headers.get("last-modified")];
}

/** The content encoding of an answer, whose bytes are then not those of the resource. */
function encodingOf({ headers }: Response): string | undefined {
  const encoding = headers.get("content-encoding")?.trim().toLowerCase() ?? "";
  return encoding === "" || encoding === "identity" ? undefined : encoding;
}

function encoded(path: string, response: Response, offset: number): SourceError {
  return new SourceError(
    "http",
    `Cannot read "${path}": the server compressed its answer (${encodingOf(response)})`,
    {
      path,
      offset,
      hint: "Download the file first, or serve it from a server that sends ranges as they are",
    },
  );
}
