import { createHash } from "node:crypto";
import { constants, createReadStream, type Stats } from "node:fs";
import { chmod, open, readFile, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { parseStrictJson } from "../encodings/json.ts";
import { type ErrorDetails, StoreError } from "../errors.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { type Descriptor, encodeJson } from "../model/manifest.ts";
import { fileError, isAbsent } from "../node/file-source.ts";
import type { StorePaths } from "./store-paths.ts";
import { commitBlobSync, SEAL } from "./commit-blob.ts";

/** Manifests, configs and tables are read whole; OCI registries refuse manifests over 4 MiB, configs can be larger. */
const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024;

/** How a blob looks from outside, without reading it. */
export type BlobState = "sealed" | "unsealed" | "wrong-size" | "absent";

/**
 * A blob is *sealed* when its bytes were checked against its digest and not written since: its modification time is
 * then {@link SEAL}, which any later write moves. So one `stat` before each use takes the place of hashing.
 */
export async function blobState(layout: StorePaths, digest: Digest, size: number): Promise<BlobState> {
  const stats = await statBlob(layout, digest);
  if (!stats) return "absent";
  if (stats.size !== size) return "wrong-size";
  return stats.mtimeMs === SEAL * 1000 ? "sealed" : "unsealed";
}

/** `stat` of a blob; `undefined` where it is absent. */
export async function statBlob(layout: StorePaths, digest: Digest): Promise<Stats | undefined> {
  try {
    return await stat(layout.blob(digest));
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    throw fileError(layout.blob(digest), "look at", cause);
  }
}

/**
 * Makes sure that a blob may be used: there, of its size, and unchanged since it was hashed. An unsealed one (a
 * store that another tool copied) is hashed now, and sealed where the store may be written.
 * @throws StoreError `missing-blob`, `corrupted`
 */
export async function requireBlob(
  layout: StorePaths,
  digest: Digest,
  size: number,
  options: {
    readonly full?: boolean;
    readonly tensor?: string;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<void> {
  const details: ErrorDetails = { path: layout.blob(digest), digest, tensor: options.tensor };
  const what = options.tensor === undefined ? `blob ${digest}` : `the blob of weight "${options.tensor}"`;
  const state = await blobState(layout, digest, size);
  if (state === "absent") {
    throw missingBlob(what, details);
  }
  if (state === "sealed" && !options.full) return;
  const hash = state === "wrong-size" ? undefined : await hashBlob(layout, digest, options.signal);
  if (hash !== digest) {
    const why = hash ? `its bytes have digest ${hash}` : `it does not have ${size} bytes`;
    throw new StoreError("corrupted", `Cannot use ${what}: ${why}`, {
      ...details,
      offset: 0,
      hint: "add the model's original files again: tare add replaces damaged blobs",
    });
  }
  await seal(layout.blob(digest)).catch(() => undefined);
}

/**
 * The error for a blob that is not there.
 * @param what the blob, as the message calls it
 */
export function missingBlob(what: string, details: ErrorDetails): StoreError {
  const hint = "add the model's files again: tare add FILES";
  return new StoreError("missing-blob", `Cannot find ${what} in the store`, { ...details, hint });
}

/** sha256 of a blob as it is now, streamed. */
async function hashBlob(
  layout: StorePaths,
  digest: Digest,
  signal: AbortSignal | undefined,
): Promise<Digest> {
  const hash = createHash("sha256");
  const stream = createReadStream(layout.blob(digest), {
    highWaterMark: 1024 * 1024,
    ...(signal && { signal }),
  });
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return `sha256:${hash.digest("hex")}`;
}

/** Marks a file as hashed and not written since. */
export async function seal(path: string): Promise<void> {
  await chmod(path, 0o444);
  await utimes(path, SEAL, SEAL);
}

/**
 * Stores bytes that are in memory; a blob that is already there and whole is left alone.
 * @param folder of the writer's lease
 */
export async function putBlob(
  layout: StorePaths,
  folder: string,
  bytes: Uint8Array,
): Promise<{ readonly digest: Digest; readonly fresh: boolean }> {
  const hex = createHash("sha256").update(bytes).digest("hex");
  const digest: Digest = `sha256:${hex}`;
  if ((await blobState(layout, digest, bytes.byteLength)) === "sealed") return { digest, fresh: false };
  const temporary = join(folder, hex);
  const handle = await open(temporary, constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC, 0o600);
  try {
    await handle.writeFile(bytes);
    return { digest, fresh: commitBlobSync(handle.fd, temporary, layout.blob(digest)) };
  } finally {
    await handle.close();
  }
}

/**
 * Stores a document as JSON.
 * @param folder of the writer's lease
 * @param fresh is told the blob and its size, if the store did not have it
 */
export async function putJson(
  layout: StorePaths,
  folder: string,
  mediaType: string,
  value: unknown,
  fresh: Map<Digest, number>,
): Promise<Descriptor> {
  const bytes = encodeJson(value);
  const { digest, fresh: isNew } = await putBlob(layout, folder, bytes);
  if (isNew) fresh.set(digest, bytes.byteLength);
  return { mediaType, digest, size: bytes.byteLength };
}

/**
 * Reads a small blob whole and checks it against its digest.
 * @throws StoreError `missing-blob`, `corrupted`
 */
export async function readBlob(layout: StorePaths, digest: Digest): Promise<Uint8Array> {
  const path = layout.blob(digest);
  const details: ErrorDetails = { path, digest };
  const stats = await statBlob(layout, digest);
  // It may go between one look and the next: another process collects, or lays weights out anew.
  const file =
    stats && stats.size <= MAX_DOCUMENT_BYTES ? await readFile(path).catch(absentIsUndefined) : undefined;
  if (!stats || (!file && stats.size <= MAX_DOCUMENT_BYTES)) {
    throw missingBlob(`blob ${digest}`, details);
  }
  if (!file || createHash("sha256").update(file).digest("hex") !== digestHex(digest)) {
    throw new StoreError(
      "corrupted",
      `Cannot use blob ${digest}: its bytes are not those it is named after`,
      {
        ...details,
        offset: 0,
        hint: "add the model's original files again: tare add replaces damaged blobs",
      },
    );
  }
  return new Uint8Array(file);
}

function absentIsUndefined(error: unknown): undefined {
  if (!isAbsent(error)) throw error;
}

/** Reads a JSON document that is a blob. */
export async function readJsonBlob(layout: StorePaths, digest: Digest): Promise<unknown> {
  return parseStrictJson(new TextDecoder().decode(await readBlob(layout, digest)), `blob ${digest}`);
}
