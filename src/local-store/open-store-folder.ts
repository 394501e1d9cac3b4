import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseStrictJson } from "../encodings/json.ts";
import { SourceError, StoreError, TareError } from "../errors.ts";
import { newerVersion } from "../model/config.ts";
import { encodeJson } from "../model/manifest.ts";
import { createFileAtomically } from "../node/atomic-write.ts";
import { isAbsent } from "../node/file-source.ts";
import { makeFolder } from "../node/make-folder.ts";
import { readRegularFile } from "../node/open-regular-file.ts";
import { makeOwnFolder } from "./own-folders.ts";
import { EMPTY_INDEX, LAYOUT, readIndex, REBUILD, STORE_VERSION, StorePaths } from "./store-paths.ts";

/** Options of {@link openStoreFolder}. */
export interface OpenFolderOptions {
  /** Create a store if the folder is empty or does not exist; `true` unless given. */
  readonly create?: boolean | undefined;
}

/** Entries of the folder of an unfinished store, besides its index. */
const UNFINISHED = /^(?:blobs|tmp|index\.json|\.(?:index\.json|oci-layout)\.[0-9a-f]{12})$/;
/** Entries of the folder of a store. */
const OURS = /^(?:blobs|tmp|index\.json|cache|views|lock|consuming|\..*)$/;

/**
 * Opens the store at a path; creates one if the folder is empty or does not exist.
 * @throws StoreError `not-a-store` for a file, a folder with other content, or, without `create`, no store; FormatError
 * `newer-version`
 */
export async function openStoreFolder(
  root: string,
  { create = true }: OpenFolderOptions = {},
): Promise<StorePaths> {
  const paths = new StorePaths(root);
  const marker = join(paths.root, "oci-layout");
  const text = await readRegularFile(marker).catch((error: unknown) => {
    if (error instanceof SourceError && error.code === "not-found") return undefined;
    throw error;
  });
  if (text !== undefined) {
    const { imageLayoutVersion } = parseStrictJson(String(text), marker) as { imageLayoutVersion?: unknown };
    if (imageLayoutVersion !== "1.0.0") throw newerVersion(marker, String(imageLayoutVersion));
    await readIndex(paths);
    return paths;
  }
  await requireUnused(paths);
  if (!create) {
    throw new StoreError("not-a-store", `Cannot find a store in "${paths.root}"`, {
      path: paths.root,
      hint: "Make one with tare add PATH, or name the folder of a store with --store or TARE_STORE",
    });
  }
  await makeStore(paths, marker).catch((cause: unknown) => {
    if (cause instanceof TareError) throw cause;
    throw new StoreError("not-a-store", `Cannot make a store in "${paths.root}"`, {
      path: paths.root,
      cause,
      hint: "Choose a folder that you may write, with --store or TARE_STORE",
    });
  });
  return paths;
}

async function makeStore(paths: StorePaths, marker: string): Promise<void> {
  await makeFolder(paths.root);
  await makeOwnFolder(paths.root, paths.blobs);
  await makeOwnFolder(paths.root, paths.temporary);
  // Write the marker last: a folder without it is incomplete, and the next process that opens it continues here.
  await createFileAtomically(paths.index, encodeJson(EMPTY_INDEX));
  await createFileAtomically(marker, encodeJson(LAYOUT));
}

/** Checks that a folder without a marker does not exist, is empty, or is a store that a process was or is creating. */
async function requireUnused(paths: StorePaths): Promise<void> {
  const refuse = (reason: string): StoreError =>
    new StoreError("not-a-store", `Cannot use "${paths.root}" as a store: ${reason}`, {
      path: paths.root,
      hint: "Choose a new or empty folder with --store or TARE_STORE",
    });
  const stats = await stat(paths.root).catch(() => undefined);
  if (!stats) return;
  if (!stats.isDirectory()) throw refuse("it is a file");
  const names = await readdir(paths.root).catch((cause: unknown) => {
    throw refuse(`it cannot be read (${(cause as NodeJS.ErrnoException).code})`);
  });
  const isIndexed = names.includes("index.json") && (await hasOwnIndex(paths));
  const foreign = names.find((name) => !(isIndexed ? OURS : UNFINISHED).test(name));
  if (foreign !== undefined) throw refuse(`it contains "${foreign}"`);
  if (isIndexed) return;
  if (names.includes("index.json")) throw refuse('it contains "index.json"');
  const blobs = (await contentOf(paths.blobs)) ?? [];
  if (blobs.length > 0) {
    // An empty index would give them to the next collection.
    throw new StoreError(
      "not-a-store",
      `Cannot open the store "${paths.root}": it has blobs and no index.json`,
      {
        path: paths.root,
        hint: REBUILD,
      },
    );
  }
  // Before its index is there, an unfinished store has no content.
  for (const [folder, expected] of [
    [join(paths.root, "blobs"), ["sha256"]],
    [paths.blobs, []],
    [paths.temporary, []],
  ] as const) {
    const content = await contentOf(folder);
    const other = content?.find((name) => !(expected as readonly string[]).includes(name));
    if (!content || other !== undefined) throw refuse(`it contains "${join(folder, other ?? "")}"`);
  }
}

/** Whether the index of a folder is one that tare made. */
async function hasOwnIndex(paths: StorePaths): Promise<boolean> {
  const index = await readIndex(paths).catch((error: unknown) => {
    if (error instanceof TareError && error.code === "newer-version") throw error;
  });
  return index?.annotations?.[STORE_VERSION] !== undefined;
}

/** Names in a folder; none if it does not exist, `undefined` if it is something else. */
async function contentOf(folder: string): Promise<string[] | undefined> {
  const stats = await lstat(folder).catch((error: unknown) => {
    if (!isAbsent(error)) throw error;
  });
  if (!stats) return [];
  return stats.isDirectory() ? readdir(folder) : undefined;
}
