import { parseStrictJson } from "../encodings/json.ts";
import { type ErrorDetails, StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import type { BlobReader } from "./store.ts";

/** Manifests, configs and tables are read whole; OCI registries refuse manifests over 4 MiB, configs can be larger. */
const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024;

/**
 * Reads a small blob whole and checks it against its digest.
 * @throws StoreError `missing-blob`; `corrupted`, also for more than 256 MiB
 */
export async function readBlob(store: BlobReader, digest: Digest): Promise<Uint8Array> {
  await using source = await store.blobs.open(digest);
  if (source.size <= MAX_DOCUMENT_BYTES) {
    const bytes = await source.read(0, source.size);
    const hash = store.createDigest();
    hash.update(bytes);
    if (hash.digest() === digest) return bytes;
  }
  throw corruptedBlob(`blob ${digest}`, "its bytes are not those it is named after", {
    path: source.name,
    digest,
    offset: 0,
  });
}

/**
 * Reads a JSON document that is a blob.
 * @throws what {@link readBlob} throws; FormatError `malformed`
 */
export async function readJsonBlob(store: BlobReader, digest: Digest): Promise<unknown> {
  return parseStrictJson(new TextDecoder().decode(await readBlob(store, digest)), `blob ${digest}`);
}

/**
 * The error for a blob that a store does not have.
 * @param what the blob, as the message calls it
 */
export function missingBlob(what: string, details: ErrorDetails): StoreError {
  const hint = "add the model's files again: tare add FILES";
  return new StoreError("missing-blob", `Cannot find ${what} in the store`, { ...details, hint });
}

/** The error for a blob whose bytes are not what its digest says. */
export function corruptedBlob(what: string, reason: string, details: ErrorDetails): StoreError {
  const hint = "add the model's original files again: tare add replaces damaged blobs";
  return new StoreError("corrupted", `Cannot use ${what}: ${reason}`, { ...details, hint });
}
