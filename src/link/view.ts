import { constants } from "node:fs";
import { copyFile, link, mkdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { requireEmptyTarget } from "../node/write-folder.ts";
import { writeAtomically } from "../node/atomic-write.ts";

/** A file of a view that is a blob of the store. */
export interface LinkedFile {
  /** Relative to the view. */
  readonly path: string;
  /** The blob's path. */
  readonly blob: string;
}

/** A file of a view that is written. */
export interface WrittenFile {
  /** Relative to the view. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Options of {@link writeView}. */
export interface ViewOptions {
  /** Copy what cannot be reflinked: for readers that refuse files with several links. */
  readonly copy?: boolean | undefined;
}

/** How {@link writeView} makes a view. */
export interface WriteViewOptions extends ViewOptions {
  /** Hard links even where there are reflinks: a reflinked file has no page in memory together with the store's. */
  readonly linked?: boolean | undefined;
}

/** What a view took. All sizes in bytes. */
export interface ViewResult {
  readonly path: string;
  /** Shared with the store by reflink: no space, and a write to either leaves the other. */
  readonly reflinkedBytes: number;
  /** Shared with the store by hard link: no space. */
  readonly linkedBytes: number;
  /** Copied, where the file system can do neither. */
  readonly copiedBytes: number;
  /** Programs and companions. */
  readonly writtenBytes: number;
}

/**
 * Makes a folder of links into the store: what every engine opens as ordinary files.
 * For each blob a reflink (unless `linked`), else a hard link, else a copy.
 * @throws SourceError `exists` if something is there; `disk-full`, `io`
 */
export async function writeView(
  path: string,
  links: readonly LinkedFile[],
  files: readonly WrittenFile[],
  options: WriteViewOptions = {},
): Promise<ViewResult> {
  const target = resolve(path);
  await requireEmptyTarget(target, "link into");
  const bytes = { reflink: 0, link: 0, copy: 0 };
  let writtenBytes = 0;
  await writeAtomically(target, async (temporary) => {
    for (const { path: name, blob } of links) {
      const out = join(temporary, name);
      await mkdir(dirname(out), { recursive: true });
      bytes[await share(blob, out, options)] += (await stat(out)).size;
    }
    for (const file of files) {
      const out = join(temporary, file.path);
      await mkdir(dirname(out), { recursive: true });
      await writeFile(out, file.bytes);
      writtenBytes += file.bytes.byteLength;
    }
  });
  return {
    path: target,
    reflinkedBytes: bytes.reflink,
    linkedBytes: bytes.link,
    copiedBytes: bytes.copy,
    writtenBytes,
  };
}

async function share(
  blob: string,
  out: string,
  { copy, linked }: WriteViewOptions,
): Promise<"reflink" | "link" | "copy"> {
  try {
    if (!linked) {
      await copyFile(blob, out, constants.COPYFILE_FICLONE_FORCE);
      return "reflink";
    }
  } catch {
    await rm(out, { force: true });
  }
  if (copy) return copyWhole(blob, out);
  try {
    await link(blob, out);
    // overlayfs links a file of a lower layer by copying it up: then it is another file.
    const [ours, theirs] = await Promise.all([stat(blob), stat(out)]);
    return ours.ino === theirs.ino && ours.dev === theirs.dev ? "link" : "copy";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw error;
    await rm(out, { force: true });
  }
  return copyWhole(blob, out);
}

async function copyWhole(blob: string, out: string): Promise<"copy"> {
  await copyFile(blob, out, constants.COPYFILE_EXCL);
  return "copy";
}
