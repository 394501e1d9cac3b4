import { describe, expect, test } from "vitest";
import { openHttpModel } from "../../src/weights/open-http-model.ts";
import { safetensorsFile } from "../support/safetensors-file.ts";

/** A server of one file, with these headers. */
function serve(bytes: Uint8Array, headers: Readonly<Record<string, string>>): typeof fetch {
  return async (input, init) => {
    if (!String(input).endsWith("/m.safetensors")) return new Response(null, { status: 404 });
    const [, first = "", last = ""] =
      /^bytes=(\d+)-(\d+)$/.exec(new Headers(init?.headers).get("range") ?? "") ?? [];
    const body = bytes.slice(Number(first), Number(last) + 1);
    const range = `bytes ${first}-${Number(first) + body.byteLength - 1}/${bytes.byteLength}`;
    return new Response(body, { status: 206, headers: { ...headers, "content-range": range } });
  };
}

describe("openHttpModel()", () => {
  test("notes that a server gives nothing to notice a change by", async () => {
    const url = "https://models.example.org/m.safetensors";
    const file = safetensorsFile(["w"]);
    const bare = await openHttpModel(url, { fetch: serve(file, {}) });
    expect(bare.notes).toEqual([
      `The server gives no ETag and no Last-Modified of ${url}: a change that keeps the size is not noticed`,
    ]);
    for (const headers of [{ etag: '"a"' }, { "last-modified": "Tue, 01 Jul 2025 00:00:00 GMT" }])
      expect((await openHttpModel(url, { fetch: serve(file, headers) })).notes).toBeUndefined();
  });
});
