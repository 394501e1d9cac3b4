import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseStrictJson } from "../encodings/json.ts";
import { StoreError } from "../errors.ts";
import { MODEL_VERSION, newerVersion } from "../model/config.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { encodeJson, type ImageIndex, MediaType, parseIndex } from "../model/manifest.ts";
import { createFileAtomically } from "../node/atomic-write.ts";
import { isAbsent } from "../node/file-source.ts";

/** Annotation of `index.json` with the version of the layout around it. */
const STORE_VERSION = "dev.tare.store.version";

/** Where a store keeps what: an OCI image layout, and beside it what only tare looks at. */
export class StorePaths {
  readonly root: string;
  readonly index: string;
  readonly blobs: string;
  /** Things being written, a folder for each writer. */
  readonly temporary: string;
  /** Journals of files that are freed as they are added. */
  readonly moving: string;
  /** Folders of links for engines that want files with names; may be deleted at any time. */
  readonly views: string;
  /** Compiled programs; may be deleted at any time. */
  readonly cache: string;
  /** Weights as an engine packed them; may be deleted at any time. */
  readonly prepacked: string;
  /** Weights that an engine derived from others; may be deleted at any time. */
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

  /** Relative to {@link root}, with `/`: what engines are given. */
  location(digest: Digest): string {
    return `blobs/sha256/${digestHex(digest)}`;
  }

  blob(digest: Digest): string {
    return join(this.blobs, digestHex(digest));
  }
}

/**
 * Opens the layout at a path; makes a new one where there is nothing (or an empty folder).
 * @throws StoreError `not-a-store` if something else is there; FormatError `newer-version`
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
    await mkdir(paths.blobs, { recursive: true });
    await mkdir(paths.temporary, { recursive: true });
    const empty: ImageIndex = {
      schemaVersion: 2,
      mediaType: MediaType.index,
      manifests: [],
      annotations: { [STORE_VERSION]: String(MODEL_VERSION) },
    };
    // The marker comes last: a folder without it is not a store yet, and the next process to open it continues here.
    await createFileAtomically(paths.index, encodeJson(empty));
    await createFileAtomically(marker, encodeJson({ imageLayoutVersion: "1.0.0" }));
    return paths;
  }
  const { imageLayoutVersion } = parseStrictJson(text, marker) as { imageLayoutVersion?: unknown };
  if (imageLayoutVersion !== "1.0.0") throw newerVersion(marker, String(imageLayoutVersion));
  await readIndex(paths);
  return paths;
}

/** Reads `index.json` as it is at this moment. */
export async function readIndex(paths: StorePaths): Promise<ImageIndex> {
  const text = await readFile(paths.index, "utf8").catch((cause: unknown) => {
    throw new StoreError("not-a-store", `Cannot read "${paths.index}"`, { path: paths.index, cause });
  });
  const index = parseIndex(parseStrictJson(text, paths.index), paths.index);
  const version = index.annotations?.[STORE_VERSION];
  if (version !== undefined && !(Number(version) <= MODEL_VERSION)) throw newerVersion(paths.index, version);
  return index;
}

async function refuseForeign(paths: StorePaths): Promise<void> {
  const stats = await stat(paths.root).catch(() => undefined);
  if (!stats) return;
  const hint = "choose a new or empty folder with --store or TARE_STORE";
  if (!stats.isDirectory()) {
    throw new StoreError("not-a-store", `Cannot use "${paths.root}" as a store: it is a file`, {
      path: paths.root,
      hint,
    });
  }
  // Another process may be making the store at this very moment.
  const ours = ["blobs", "tmp", "index.json", "oci-layout", "cache", "views", "lock", "consuming"];
  const foreign = (await readdir(paths.root)).find((name) => !ours.includes(name) && !name.startsWith("."));
  if (foreign !== undefined) {
    throw new StoreError("not-a-store", `Cannot use "${paths.root}" as a store: it holds "${foreign}"`, {
      path: paths.root,
      hint,
    });
  }
}
