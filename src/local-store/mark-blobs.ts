import { TareError } from "../errors.ts";
import { type Descriptor, MediaType, parseIndex, parseManifest, REF_NAME } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import { readJsonBlob } from "../store/read-blob.ts";
import type { Digest } from "../tensor/digest.ts";
import { movedBlobs } from "./move-journal.ts";
import { folderReader } from "./open-blob.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";

/**
 * Finds every blob in use: by models, by entries of other OCI tools, and by unfinished moves.
 * @throws StoreError, FormatError if a manifest cannot be read, since its blobs are unknown
 */
export async function markBlobs(paths: StorePaths): Promise<Set<Digest>> {
  const marked = new Set<Digest>();
  for (const each of (await readIndex(paths)).manifests) await mark(paths, each, marked);
  for (const digest of await movedBlobs(paths)) marked.add(digest);
  return marked;
}

/** Finds the models whose manifests cannot be read, by name; entries without a name by digest. */
export async function unreadableModels(paths: StorePaths): Promise<string[]> {
  const names: string[] = [];
  for (const each of (await readIndex(paths)).manifests) {
    await mark(paths, each, new Set()).catch((error: unknown) => {
      if (!(error instanceof TareError)) throw error;
      names.push(each.annotations?.[REF_NAME] ?? each.digest);
    });
  }
  return names;
}

/** Marks the blobs of a manifest, or of all manifests of an index. */
async function mark(
  paths: StorePaths,
  { digest, mediaType }: Descriptor,
  marked: Set<Digest>,
): Promise<void> {
  if (marked.has(digest)) return;
  const document = await readJsonBlob(folderReader(paths), digest);
  marked.add(digest);
  if (mediaType === MediaType.index || mediaType.endsWith("manifest.list.v2+json")) {
    for (const each of parseIndex(document, `manifest ${digest}`).manifests) await mark(paths, each, marked);
  } else {
    const manifest = parseManifest(document, `manifest ${digest}`);
    for (const each of manifestBlobs(manifest)) marked.add(each.digest);
  }
}
