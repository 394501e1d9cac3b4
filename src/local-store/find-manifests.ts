import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { TareError } from "../errors.ts";
import {
  type Descriptor,
  type Manifest,
  MediaType,
  parseIndex,
  parseManifest,
  REF_NAME,
} from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import { readJsonBlob } from "../store/read-blob.ts";
import { type Digest, isDigest } from "../tensor/digest.ts";
import { folderReader } from "./open-blob.ts";
import { isPresent } from "./seal.ts";
import type { StorePaths } from "./store-paths.ts";

/** Size limit of a manifest, in bytes. A model of a million weights stays below it. */
const MAX_MANIFEST_BYTES = 256 * 1024 * 1024;
/** Bytes of a blob that are searched for the first key of a manifest. */
const PROBE_BYTES = 4096;

/** A manifest of a model that is a blob of the store. */
export interface FoundManifest {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  /** Name of the model; `undefined` for a manifest of an older version. */
  readonly name: string | undefined;
  /** Whether every blob of the model exists with its size. */
  readonly complete: boolean;
  /** Time of the commit, in milliseconds. */
  readonly committed: number;
}

/** Result of {@link findManifests}. */
export interface FoundManifests {
  readonly models: readonly FoundManifest[];
  /** Manifests and indexes of other OCI tools. */
  readonly others: readonly Descriptor[];
}

/** Finds every manifest among the blobs of a store. Skips blobs whose bytes do not have their digest. */
export async function findManifests(paths: StorePaths, signal?: AbortSignal): Promise<FoundManifests> {
  const models: FoundManifest[] = [];
  const others: Descriptor[] = [];
  for (const file of (await readdir(paths.blobs)).sort()) {
    signal?.throwIfAborted();
    const digest = `sha256:${file}`;
    const probed = isDigest(digest) ? await probe(join(paths.blobs, file)) : undefined;
    if (!probed || !isDigest(digest)) continue;
    try {
      const document = await readJsonBlob(folderReader(paths), digest);
      const found = await recognize(paths, document, { digest, ...probed });
      if (!found) continue;
      if ("manifest" in found) models.push(found);
      else others.push(found);
    } catch (error) {
      if (!(error instanceof TareError)) throw error;
    }
  }
  return { models, others };
}

/** Returns size and commit time of a file that may be a manifest. */
async function probe(
  path: string,
): Promise<{ readonly size: number; readonly committed: number } | undefined> {
  const file = await open(path, "r").catch(() => undefined);
  if (!file) return undefined;
  try {
    const stats = await file.stat();
    if (!stats.isFile() || stats.size > MAX_MANIFEST_BYTES) return undefined;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(PROBE_BYTES), 0, PROBE_BYTES, 0);
    const text = buffer.toString("latin1", 0, bytesRead);
    if (!/^\s*\{/.test(text) || !text.includes('"schemaVersion"')) return undefined;
    return { size: stats.size, committed: stats.ctimeMs };
  } finally {
    await file.close();
  }
}

async function recognize(
  paths: StorePaths,
  document: unknown,
  { digest, size, committed }: { readonly digest: Digest; readonly size: number; readonly committed: number },
): Promise<FoundManifest | Descriptor | undefined> {
  if (typeof document !== "object" || document === null) return undefined;
  if ("manifests" in document) {
    const { mediaType = MediaType.index } = parseIndex(document, `manifest ${digest}`);
    return { mediaType, digest, size };
  }
  const manifest = parseManifest(document, `manifest ${digest}`);
  const descriptor = { mediaType: manifest.mediaType ?? MediaType.manifest, digest, size };
  if (manifest.artifactType !== MediaType.model && manifest.config.mediaType !== MediaType.config)
    return descriptor;
  let complete = true;
  for (const blob of manifestBlobs(manifest)) complete &&= await isPresent(paths, blob);
  return { descriptor, manifest, name: manifest.annotations?.[REF_NAME], complete, committed };
}
