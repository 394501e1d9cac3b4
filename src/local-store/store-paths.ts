import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseStrictJson } from "../encodings/json.ts";
import { FormatError, StoreError } from "../errors.ts";
import { MODEL_VERSION, newerVersion } from "../model/config.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { encodeJson, type ImageIndex, MediaType, parseIndex } from "../model/manifest.ts";
import { createFileAtomically } from "../node/atomic-write.ts";
import { isAbsent } from "../node/file-source.ts";

/** Annotation of `index.json` with the version of the store's layout. */
const STORE_VERSION = "dev.tare.store.version";

const REBUILD = "Make it again from the manifests of the store: tare fsck";

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
  /** Compiled programs; may be deleted at any time. */
  readonly cache: string;
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

/**
 * Opens the store at a path; creates one if the folder is empty or does not exist.
 * @throws StoreError `not-a-store` for a file, or a folder with other content; FormatError `newer-version`
 */
export async function openStoreFolder(root: string): Promise<StorePaths> {
  const paths = new StorePaths(root);
  const marker = join(paths.root, "oci-layout");
  const text = await readFile(marker, "utf8").catch((error: unknown) => {
    if (isAbsent(error)) return undefined;
    throw error;
  });
  if (text === undefined) {
    await refuseForeign(paths);
    await refuseBlobs(paths);
    await mkdir(paths.blobs, { recursive: true });
    await mkdir(paths.temporary, { recursive: true });
    // Write the marker last: a folder without it is incomplete, and the next process that opens it continues here.
    await createFileAtomically(paths.index, encodeJson(EMPTY_INDEX));
    await createFileAtomically(marker, encodeJson(LAYOUT));
    return paths;
  }
  const { imageLayoutVersion } = parseStrictJson(text, marker) as { imageLayoutVersion?: unknown };
  if (imageLayoutVersion !== "1.0.0") throw newerVersion(marker, String(imageLayoutVersion));
  await readIndex(paths);
  return paths;
}

/** Reads the current `index.json`. */
export async function readIndex(paths: StorePaths): Promise<ImageIndex> {
  const text = await readFile(paths.index, "utf8").catch((cause: unknown) => {
    throw new StoreError("not-a-store", `Cannot read "${paths.index}"`, {
      path: paths.index,
      cause,
      hint: REBUILD,
    });
  });
  const index = parseIndexText(paths, text);
  const version = index.annotations?.[STORE_VERSION];
  if (version !== undefined && !(Number(version) <= MODEL_VERSION)) throw newerVersion(paths.index, version);
  return index;
}

/** Refuses blobs without names: an empty index would give them to the next collection. */
async function refuseBlobs(paths: StorePaths): Promise<void> {
  const blobs = await readdir(paths.blobs).catch(() => []);
  const hasIndex = (await stat(paths.index).catch(() => undefined)) !== undefined;
  if (blobs.length === 0 || hasIndex) return;
  throw new StoreError(
    "not-a-store",
    `Cannot open the store "${paths.root}": it has blobs and no index.json`,
    {
      path: paths.root,
      hint: REBUILD,
    },
  );
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

async function refuseForeign(paths: StorePaths): Promise<void> {
  const stats = await stat(paths.root).catch(() => undefined);
  if (!stats) return;
  const hint = "Choose a new or empty folder with --store or TARE_STORE";
  if (!stats.isDirectory()) {
    throw new StoreError("not-a-store", `Cannot use "${paths.root}" as a store: it is a file`, {
      path: paths.root,
      hint,
    });
  }
  // Accept the files of a store: another process may be creating it.
  const ours = ["blobs", "tmp", "index.json", "oci-layout", "cache", "views", "lock", "consuming"];
  const foreign = (await readdir(paths.root)).find((name) => !ours.includes(name) && !name.startsWith("."));
  if (foreign !== undefined) {
    throw new StoreError("not-a-store", `Cannot use "${paths.root}" as a store: it contains "${foreign}"`, {
      path: paths.root,
      hint,
    });
  }
}
