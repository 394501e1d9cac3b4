import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A web server over a folder. */
export interface FileServer {
  /** Ends in `/`. */
  readonly url: string;
  /** Bytes of all bodies that it sent. */
  readonly sent: number;
}

/** Serves ranges of a folder's files until the test is over; a file's ETag is its size and time. */
export async function serveFiles(folder: string): Promise<FileServer> {
  let sent = 0;
  const server = createServer((request, response) => {
    const path = join(folder, decodeURIComponent((request.url ?? "/").slice(1)));
    const stats = statSync(path, { throwIfNoEntry: false });
    if (!stats?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    const body = readFileSync(path).subarray(Number(first), Number(last) + 1);
    sent += body.byteLength;
    response.writeHead(206, {
      etag: `"${stats.size}-${stats.mtimeMs}"`,
      "content-range": `bytes ${first}-${Number(first) + body.byteLength - 1}/${stats.size}`,
    });
    response.end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    get sent() {
      return sent;
    },
  };
}
