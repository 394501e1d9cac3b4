import { parseStrictJson } from "../encodings/json.ts";
import { type ErrorDetails, StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { BlobReader } from "./store.ts";

/**
 * Size limit of documents (manifests, configs, tables). OCI registries limit manifests to 4 MiB; configs can be larger.
 */
const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024;

/**
 * Reads a small blob and checks it against its digest.
 * @throws StoreError `missing-blob`; `corrupted`, also for a blob over 256 MiB
 */
export async function readBlob(store: BlobReader, digest: Digest): Promise<Uint8Array> {
  await using source = await store.blobs.open(digest);
  if (source.size <= MAX_DOCUMENT_BYTES) {
    const bytes = await source.read(0, source.size);
    const hash = store.createDigest();
    hash.update(bytes);
    if (hash.digest() === digest) return bytes;
  }
  throw corruptedBlob(`blob ${digest}`, "its bytes do not have this digest", {
    path: source.name,
    digest,
    offset: 0,
  });
}

/**
 * Reads a blob as a JSON document.
 * @throws the errors of {@link readBlob}; FormatError `malformed`
 */
export async function readJsonBlob(store: BlobReader, digest: Digest): Promise<unknown> {
  return parseStrictJson(new TextDecoder().decode(await readBlob(store, digest)), `blob ${digest}`);
}

/**
 * Makes the error for a blob that a store does not have.
 * @param what the blob, in the words of the message
 */
export function missingBlob(what: string, details: ErrorDetails): StoreError {
  const hint = "Add the model's files again: tare add FILES";
  return new StoreError("missing-blob", `Cannot find ${what} in the store`, { ...details, hint });
}

/** Makes the error for a blob whose bytes do not have its digest. */
export function corruptedBlob(what: string, reason: string, details: ErrorDetails): StoreError {
  const hint = "Add the model's original files again: tare add replaces damaged blobs";
  return new StoreError("corrupted", `Cannot use ${what}: ${reason}`, { ...details, hint });
}
