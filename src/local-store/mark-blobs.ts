import { type Descriptor, MediaType, parseIndex, parseManifest } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import { readJsonBlob } from "../store/read-blob.ts";
import type { Digest } from "../tensor/digest.ts";
import { movedBlobs } from "./move-journal.ts";
import { folderReader } from "./open-blob.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";

/**
 * Finds every blob in use: by models, by entries of other OCI tools, and by unfinished moves.
 * @throws StoreError if a manifest cannot be read, since its blobs are unknown
 */
export async function markBlobs(paths: StorePaths): Promise<Set<Digest>> {
  const reader = folderReader(paths);
  const marked = new Set<Digest>();
  const visit = async ({ digest, mediaType }: Descriptor): Promise<void> => {
    if (marked.has(digest)) return;
    marked.add(digest);
    const document = await readJsonBlob(reader, digest);
    if (mediaType === MediaType.index || mediaType.endsWith("manifest.list.v2+json")) {
      for (const each of parseIndex(document, `manifest ${digest}`).manifests) await visit(each);
    } else {
      const manifest = parseManifest(document, `manifest ${digest}`);
      for (const each of manifestBlobs(manifest)) marked.add(each.digest);
    }
  };
  for (const each of (await readIndex(paths)).manifests) await visit(each);
  for (const digest of await movedBlobs(paths)) marked.add(digest);
  return marked;
}
