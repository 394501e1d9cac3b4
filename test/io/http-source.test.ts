import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openHttpSource } from "../../src/io/http-source.ts";

const file = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251);

let server: Server;
let url: string;
/** What the server does; each test sets its own. */
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let ranges: (string | undefined)[];

beforeEach(async () => {
  ranges = [];
  answer = serveRange();
  server = createServer((request, response) => {
    ranges.push(request.headers.range);
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.onnx`;
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

/** An ordinary server of ranges. */
function serveRange(headers: Readonly<Record<string, string | undefined>> = { etag: '"one"' }, bytes = file) {
  return (request: IncomingMessage, response: ServerResponse): void => {
    const [first, last] = rangeOf(request);
    if (first >= bytes.length) {
      response.writeHead(416, { ...headers, "content-range": `bytes */${bytes.length}` }).end();
      return;
    }
    const end = Math.min(last + 1, bytes.length);
    response.writeHead(206, { ...headers, "content-range": `bytes ${first}-${end - 1}/${bytes.length}` });
    response.end(bytes.subarray(first, end));
  };
}

function rangeOf(request: IncomingMessage): [number, number] {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  return [Number(first), Number(last)];
}

/** Serves the first request, of one byte, as usual and every later one in another way. */
function later(then: typeof answer): void {
  const usual = answer;
  let first = true;
  answer = (request, response) => {
    (first ? usual : then)(request, response);
    first = false;
  };
}

describe("openHttpSource()", () => {
  test("learns the size with a request of one byte", async () => {
    const source = await openHttpSource(new URL(url));
    expect(source).toMatchObject({ name: url, size: file.length });
    expect(ranges).toEqual(["bytes=0-0"]);
  });

  test("reads ranges, also many at once and up to the last byte", async () => {
    const source = await openHttpSource(url);
    const wanted: [number, number][] = [
      [0, 1],
      [1000, 200_000],
      [file.length - 1, 1],
      [0, file.length],
      [17, 4],
    ];
    const read = await Promise.all(wanted.map(([offset, length]) => source.read(offset, length)));
    wanted.forEach(([offset, length], index) => {
      expect(Buffer.compare(read[index] as Uint8Array, file.subarray(offset, offset + length))).toBe(0);
    });
  });

  test("reads nothing without a request", async () => {
    const source = await openHttpSource(url);
    expect(await source.read(file.length, 0)).toEqual(new Uint8Array(0));
    await expect(source.read(file.length, 1)).rejects.toMatchObject({ code: "out-of-range", path: url });
    expect(ranges.length).toBe(1);
  });

  test("sends its own headers with every request, and wants the bytes as they are", async () => {
    const seen: unknown[] = [];
    const serve = answer;
    answer = (request, response) => {
      seen.push([request.headers.authorization, request.headers["accept-encoding"]]);
      serve(request, response);
    };
    const source = await openHttpSource(url, { headers: { authorization: "Bearer t" } });
    await source.read(1, 1);
    expect(seen).toEqual([
      ["Bearer t", "identity"],
      ["Bearer t", "identity"],
    ]);
  });

  test("follows a redirect", async () => {
    const serve = answer;
    answer = (request, response) => {
      if (request.url === "/moved") response.writeHead(302, { location: "/model.onnx" }).end();
      else serve(request, response);
    };
    const source = await openHttpSource(url.replace("/model.onnx", "/moved"));
    expect([...(await source.read(5, 2))]).toEqual([...file.subarray(5, 7)]);
  });

  test("follows five redirects, and no more", async () => {
    const serve = answer;
    answer = (request, response) => {
      const [, left] = /^\/moved(\d)$/.exec(request.url ?? "") ?? [];
      if (left === undefined) serve(request, response);
      else
        response
          .writeHead(307, { location: left === "1" ? "/model.onnx" : `/moved${Number(left) - 1}` })
          .end();
    };
    const at = (count: number): string => url.replace("/model.onnx", `/moved${count}`);
    const source = await openHttpSource(at(5));
    expect([...(await source.read(5, 2))]).toEqual([...file.subarray(5, 7)]);
    await expect(openHttpSource(at(6))).rejects.toMatchObject({
      code: "http",
      path: at(6),
      message: expect.stringContaining("it is redirect 6"),
    });
  });

  /** A fetch that redirects from one URL to another, where an ordinary server is. */
  function redirecting(location: string | null): { readonly fetch: typeof fetch; readonly seen: string[] } {
    const seen: string[] = [];
    return {
      seen,
      async fetch(input, init) {
        seen.push(
          `${input instanceof Request ? input.url : String(input)} ${new Headers(init?.headers).get("authorization")}`,
        );
        if (seen.length === 1) {
          return new Response(null, { status: 302, headers: location === null ? {} : { location } });
        }
        return new Response("x", { status: 206, headers: { "content-range": "bytes 0-0/1" } });
      },
    };
  }

  test.each([
    "http://127.0.0.1/x",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://localhost:8080/",
    "http://db.internal/",
    "http://printer/",
    "http://169.254.169.254/latest/meta-data",
    "http://10.1.2.3/",
    "http://172.31.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://[ff02::1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
  ])("does not follow a redirect from a public host to %s", async (location) => {
    const { fetch, seen } = redirecting(location);
    await expect(openHttpSource("http://models.example.org/m", { fetch })).rejects.toMatchObject({
      code: "http",
      path: "http://models.example.org/m",
      message: expect.stringContaining(`"${new URL(location).hostname}"`),
    });
    expect(seen.length).toBe(1);
  });

  test.each([
    ["https://models.example.org/m", "http://cdn.example.org/m", "it leaves https"],
    ["https://models.example.org/m", "file:///etc/passwd", "it is no web address"],
    ["https://models.example.org/m", "https://", "it is no URL"],
    ["https://models.example.org/m", null, "it is no URL"],
  ])("does not follow a redirect from %s to %s", async (from, location, reason) => {
    const { fetch, seen } = redirecting(location);
    await expect(openHttpSource(from, { fetch })).rejects.toMatchObject({
      code: "http",
      message: expect.stringContaining(reason),
    });
    expect(seen.length).toBe(1);
  });

  test.each([
    ["http://models.example.org/m", "https://cdn.example.org/m"],
    ["http://models.example.org/m", "http://8.8.8.8/m"],
    ["http://models.example.org/m", "http://[2606:4700::1]/m"],
    ["http://10.0.0.1/m", "http://127.0.0.1/m"],
  ])("follows a redirect from %s to %s, without the headers of the caller", async (from, to) => {
    const { fetch, seen } = redirecting(to);
    const source = await openHttpSource(from, { fetch, headers: { authorization: "Bearer t" } });
    expect(source.size).toBe(1);
    expect(seen).toEqual([`${from} Bearer t`, `${to} null`]);
  });

  test("gives up on a server that does not answer, after a time limit", async () => {
    answer = () => undefined;
    await expect(openHttpSource(url, { headersTimeoutMs: 50 })).rejects.toMatchObject({
      code: "http",
      path: url,
      message: expect.stringContaining("no answer in 0.05 s"),
    });
  });

  test("refuses what is no URL", async () => {
    await expect(openHttpSource("http://[")).rejects.toMatchObject({ code: "http", path: "http://[" });
  });

  test.each([
    ["a compressed answer", { "content-encoding": "gzip", "content-range": "bytes 0-0/5" }, "gzip"],
    ["another range", { "content-range": "bytes 1-1/5" }, "206"],
  ])("refuses %s to the first request", async (_, headers, reason) => {
    answer = (_request, response) => void response.writeHead(206, headers).end("x");
    await expect(openHttpSource(url)).rejects.toMatchObject({
      code: "http",
      message: expect.stringContaining(reason),
    });
  });

  test("goes by Last-Modified, or by the size alone, where there is no ETag", async () => {
    for (const headers of [{ "last-modified": "Tue, 01 Jul 2025 00:00:00 GMT" }, {}]) {
      answer = serveRange(headers);
      const source = await openHttpSource(url);
      expect([...(await source.read(5, 2))]).toEqual([...file.subarray(5, 7)]);
      expect(source.hasValidator).toBe("last-modified" in headers);
    }
  });

  test.each([
    ["416", (response: ServerResponse) => response.writeHead(416, { "content-range": "bytes */0" }).end()],
    ["200", (response: ServerResponse) => response.writeHead(200, { "content-length": "0" }).end()],
  ])("opens an empty resource that answers %s", async (_, respond) => {
    answer = (_request, response) => void respond(response);
    const source = await openHttpSource(url);
    expect(source.size).toBe(0);
    expect(await source.read(0, 0)).toEqual(new Uint8Array(0));
    await expect(source.read(0, 1)).rejects.toMatchObject({ code: "out-of-range" });
  });

  test("says not-found for 404", async () => {
    answer = (_, response) => void response.writeHead(404).end("no such thing");
    await expect(openHttpSource(url)).rejects.toMatchObject({
      name: "SourceError",
      code: "not-found",
      path: url,
    });
  });

  test("refuses a server without ranges, and says what helps", async () => {
    answer = (_, response) => void response.writeHead(200, { "content-length": file.length }).end(file);
    await expect(openHttpSource(url)).rejects.toMatchObject({
      code: "http",
      message: expect.stringContaining("200"),
      hint: expect.stringContaining("range requests"),
    });
  });

  test.each([401, 403, 500, 503])("says what the server answered: %d", async (status) => {
    answer = (_, response) => void response.writeHead(status).end();
    const error = await openHttpSource(url).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "http",
      message: `Cannot read "${url}": HTTP ${status}`,
      hint: undefined,
    });
  });

  test.each(["bytes 0-0/*", "bytes 0-0", "lines 0-0/5", "bytes 0-0/99999999999999999"])(
    "refuses a 206 whose size is not known: %s",
    async (range) => {
      answer = (_, response) => void response.writeHead(206, { "content-range": range }).end("x");
      await expect(openHttpSource(url)).rejects.toMatchObject({ code: "http" });
    },
  );

  test("says that a server cannot be reached, with the cause", async () => {
    server.close();
    await once(server, "close");
    const error = await openHttpSource(url).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "http", path: url, cause: expect.anything() });
    server.listen(0);
    await once(server, "listening");
  });

  test("stops when aborted while the server is silent", async () => {
    const controller = new AbortController();
    answer = () => controller.abort();
    await expect(openHttpSource(url, { signal: controller.signal })).rejects.toThrow(/abort/i);
  });
});

describe("a source that openHttpSource() gave", () => {
  test.each([
    ["200 instead of 206", 200, { etag: '"one"' }],
    ["416", 416, { "content-range": "bytes */300000" }],
    ["500", 500, {}],
    ["206 of another range", 206, { etag: '"one"', "content-range": `bytes 0-9/${file.length}` }],
    ["206 without saying of what", 206, { etag: '"one"' }],
    ["206 of a resource of unknown size", 206, { etag: '"one"', "content-range": "bytes 100-109/*" }],
    [
      "a compressed answer",
      206,
      { etag: '"one"', "content-range": `bytes 100-109/${file.length}`, "content-encoding": "br" },
    ],
  ])("refuses %s", async (_, status, headers) => {
    later((_request, response) => void response.writeHead(status, headers).end("0123456789"));
    const source = await openHttpSource(url);
    await expect(source.read(100, 10)).rejects.toMatchObject({ code: "http", path: url, offset: 100 });
  });

  test.each([
    ["another ETag", { etag: '"two"', "content-range": `bytes 100-109/${file.length}` }],
    ["no ETag any more", { "content-range": `bytes 100-109/${file.length}` }],
    [
      "a Last-Modified that the first answer had not",
      {
        etag: '"one"',
        "last-modified": "Tue, 01 Jul 2025 00:00:00 GMT",
        "content-range": `bytes 100-109/${file.length}`,
      },
    ],
    ["another size", { etag: '"one"', "content-range": `bytes 100-109/${file.length + 1}` }],
  ])("refuses to mix two states of a file: %s", async (_, headers) => {
    later((_request, response) => void response.writeHead(206, headers).end("0123456789"));
    const source = await openHttpSource(url);
    await expect(source.read(100, 10)).rejects.toMatchObject({
      code: "source-changed",
      path: url,
      offset: 100,
    });
  });

  const right = { etag: '"one"', "content-range": `bytes 100-109/${file.length}` };

  test.each([
    ["fewer", "01234"],
    ["more", "0123456789abcdef"],
    ["none", ""],
  ])("refuses an answer of %s bytes than it says", async (_, body) => {
    later((_request, response) => void response.writeHead(206, right).end(body));
    const source = await openHttpSource(url);
    await expect(source.read(100, 10)).rejects.toMatchObject({ code: "short-read", path: url });
  });

  test("does not wait for the end of an answer that is too long", async () => {
    later((_request, response) => void response.writeHead(206, right).write("0123456789ab"));
    const source = await openHttpSource(url);
    await expect(source.read(100, 10)).rejects.toMatchObject({ code: "short-read" });
  });

  test.each([
    ["before the first byte", ""],
    ["between bytes", "0123"],
  ])("gives up on a server that is silent %s, after a time limit", async (_, body) => {
    later((_request, response) => {
      response.writeHead(206, { ...right, "content-length": 10 });
      response.flushHeaders();
      if (body !== "") response.write(body);
    });
    const source = await openHttpSource(url, { idleTimeoutMs: 50 });
    await expect(source.read(100, 10)).rejects.toMatchObject({
      code: "http",
      offset: 100 + body.length,
      message: expect.stringContaining("sent nothing for 0.05 s"),
    });
  });

  test("refuses an answer whose Content-Length is not that of the range, before its body", async () => {
    later((_request, response) => {
      response.writeHead(206, { ...right, "content-length": 11 });
      response.flushHeaders();
    });
    const source = await openHttpSource(url);
    await expect(source.read(100, 10)).rejects.toMatchObject({ code: "short-read" });
  });

  test("says that the connection broke, and where", async () => {
    later((_request, response) => {
      response.writeHead(206, { ...right, "content-length": 10 });
      response.write("0123", () => response.destroy());
    });
    const source = await openHttpSource(url);
    await expect(source.read(100, 10)).rejects.toMatchObject({
      code: "short-read",
      offset: 104,
      cause: expect.anything(),
    });
  });

  test("says that the connection broke before an answer", async () => {
    later((request) => void request.socket.destroy());
    const source = await openHttpSource(url);
    await expect(source.read(100, 10)).rejects.toMatchObject({ code: "http", path: url, offset: 100 });
  });

  test.each([
    ["by default", undefined],
    ["with a reason of the caller's", new Error("the user left")],
  ])("stops in the middle of an answer when aborted %s", async (_, reason) => {
    const controller = new AbortController();
    later(
      (_request, response) => void response.writeHead(206, { ...right, "content-length": 10 }).write("0123"),
    );
    const source = await openHttpSource(url, {
      async fetch(input, init) {
        const response = await fetch(input, init);
        // By then the body is being read.
        if (init?.signal) setImmediate(() => controller.abort(reason));
        return response;
      },
    });
    const error = await source
      .read(100, 10, { signal: controller.signal })
      .catch((thrown: unknown) => thrown);
    expect(error).toBe(controller.signal.reason);
  });

  test("does not start when aborted before", async () => {
    const source = await openHttpSource(url);
    await expect(source.read(0, 1, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    expect(ranges.length).toBe(1);
  });

  test("says source-changed when the file became shorter", async () => {
    const source = await openHttpSource(url);
    answer = serveRange({ etag: '"two"' }, file.subarray(0, 50));
    await expect(source.read(100, 10)).rejects.toMatchObject({ code: "source-changed" });
    await expect(source.read(45, 10)).rejects.toMatchObject({ code: "source-changed" });
  });

  test("reads through a fetch that the caller gives", async () => {
    let calls = 0;
    const counting: typeof fetch = (input, init) => {
      calls++;
      return fetch(input, init);
    };
    const source = await openHttpSource(url, { fetch: counting });
    await source.read(0, 4);
    expect(calls).toBe(2);
  });
});
