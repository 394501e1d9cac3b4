import { constants } from "node:fs";
import { copyFile, link, rm, stat, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { requireEmptyTarget } from "../node/write-folder.ts";
import { writeAtomically } from "../node/atomic-write.ts";
import { makeFolder } from "../node/make-folder.ts";
import { joinInside } from "../node/join-inside.ts";

/** A file of a view that links to a blob of the store. */
export interface LinkedFile {
  /** Relative to the view. */
  readonly path: string;
  /** Path of the blob. */
  readonly blob: string;
}

/** A file of a view that has its bytes written. */
export interface WrittenFile {
  /** Relative to the view. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Options of {@link writeView}. */
export interface ViewOptions {
  /** Copy files that cannot be reflinked, for readers that refuse files with several hard links. */
  readonly copy?: boolean | undefined;
}

/** How {@link writeView} makes a view. */
export interface WriteViewOptions extends ViewOptions {
  /** Make hard links even if the file system has reflinks: a reflinked file does not share memory with its blob. */
  readonly linked?: boolean | undefined;
}

/** Result of {@link writeView}. Sizes in bytes. */
export interface ViewResult {
  readonly path: string;
  /** Size of reflinks to the store, which take no space. A write to a reflink does not change the blob. */
  readonly reflinkedBytes: number;
  /** Size of hard links to the store, which take no space. */
  readonly linkedBytes: number;
  /** Size of copies, made if the file system has neither reflinks nor hard links. */
  readonly copiedBytes: number;
  /** Size of programs and companions. */
  readonly writtenBytes: number;
}

/**
 * Writes a folder of links to blobs, which engines open as files. Each link is a reflink (unless `linked`), else a hard
 * link (unless `copy`), else a copy.
 * @throws SourceError `exists` if the path is not empty; `disk-full`, `io`
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
      const out = joinInside(temporary, name);
      await makeFolder(dirname(out));
      bytes[await share(blob, out, options)] += (await stat(out)).size;
    }
    for (const file of files) {
      const out = joinInside(temporary, file.path);
      await makeFolder(dirname(out));
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
    // overlayfs copies a file of a lower layer before it links it: the link is then another file than the blob.
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
