import { join, resolve } from "node:path";
import { parseStrictJson } from "../encodings/json.ts";
import { FormatError, StoreError } from "../errors.ts";
import { MODEL_VERSION, newerVersion } from "../model/config.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { type ImageIndex, MediaType, parseIndex } from "../model/manifest.ts";
import { readRegularFile } from "../node/open-regular-file.ts";

/** Annotation of `index.json` with the version of the store's layout. */
export const STORE_VERSION = "dev.tare.store.version";

/** Hint for a lost or damaged index. */
export const REBUILD = "Make it again from the manifests of the store: tare fsck";

/** `index.json` of a store without models. */
export const EMPTY_INDEX: ImageIndex = {
  schemaVersion: 2,
  mediaType: MediaType.index,
  manifests: [],
  annotations: { [STORE_VERSION]: String(MODEL_VERSION) },
};

/** `oci-layout` of a store. */
export const LAYOUT = { imageLayoutVersion: "1.0.0" } as const;

/** Paths of a store: an OCI image layout, and folders that only tare uses. All are absolute. */
export class StorePaths {
  readonly root: string;
  readonly index: string;
  readonly blobs: string;
  /** Unfinished files, in a folder for each writer. */
  readonly temporary: string;
  /** Journals of files that are freed while they are added. */
  readonly moving: string;
  /** Folders of links, for engines that open files by name; may be deleted at any time. */
  readonly views: string;
  /** Caches; may be deleted at any time. */
  readonly cache: string;
  /** Compiled programs by key. */
  readonly compiled: string;
  /** Prepacked weights; may be deleted at any time. */
  readonly prepacked: string;
  /** Folded weights; may be deleted at any time. */
  readonly folded: string;

  constructor(root: string) {
    this.root = resolve(root);
    this.index = join(this.root, "index.json");
    this.blobs = join(this.root, "blobs", "sha256");
    this.temporary = join(this.root, "tmp");
    this.moving = join(this.root, "consuming");
    this.views = join(this.root, "views");
    this.cache = join(this.root, "cache");
    this.compiled = join(this.cache, "compiled");
    this.prepacked = join(this.cache, "packed");
    this.folded = join(this.cache, "derived");
  }

  /** Returns the path of a blob relative to {@link root}, with `/`, for engines. */
  location(digest: Digest): string {
    return `blobs/sha256/${digestHex(digest)}`;
  }

  /** Returns the absolute path of a blob. */
  blob(digest: Digest): string {
    return join(this.blobs, digestHex(digest));
  }
}

/** Reads the current `index.json`. */
export async function readIndex(paths: StorePaths): Promise<ImageIndex> {
  const text = await readRegularFile(paths.index).catch((cause: unknown) => {
    throw new StoreError("not-a-store", `Cannot read "${paths.index}"`, {
      path: paths.index,
      cause,
      hint: REBUILD,
    });
  });
  const index = parseIndexText(paths, String(text));
  const version = index.annotations?.[STORE_VERSION];
  if (version !== undefined && !(Number(version) <= MODEL_VERSION)) throw newerVersion(paths.index, version);
  return index;
}

function parseIndexText(paths: StorePaths, text: string): ImageIndex {
  try {
    return parseIndex(parseStrictJson(text, paths.index), paths.index);
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    const { code, message, path, offset } = cause;
    throw new FormatError(code, message, { path, offset, cause, hint: REBUILD });
  }
}
