import { chmod, copyFile, link, mkdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { parseStrictJson } from "../../encodings/json.ts";
import { SourceError, StoreError } from "../../errors.ts";
import { type CreateDigest, type Digest, digestHex } from "../../tensor/digest.ts";
import { encodeJson } from "../../model/manifest.ts";
import type { WeightFile } from "../../model/weight-file.ts";
import { syncFolder } from "../../node/atomic-write.ts";
import { openFileSource } from "../../node/file-source.ts";
import { requireEmptyTarget } from "../../node/write-folder.ts";
import { writeAtomically } from "../../node/atomic-write.ts";
import { makeFolder } from "../../node/make-folder.ts";
import { openRegularFile } from "../../node/open-regular-file.ts";
import { joinInside } from "../../node/join-inside.ts";
import { createSha256 } from "../../node/sha256.ts";
import { watchProgress } from "../../node/progress.ts";
import { writeWeightFiles } from "../../local-store/write-weight-files.ts";
import type { BlobReader } from "../../store/store.ts";
import type { Progress } from "../../io/progress.ts";

/** Limit of a record, which lists every weight of every model. */
const MAX_RECORD_BYTES = 512 * 1024 * 1024;

/** The files of a split's folder. */
export interface SplitContents {
  readonly weightFiles: readonly { readonly path: string; readonly file: WeightFile }[];
  readonly written: readonly { readonly path: string; readonly bytes: Uint8Array }[];
  readonly links: readonly { readonly path: string; readonly target: string }[];
  /** Makes the record from the digests of the weight files. */
  readonly record: (digests: readonly Digest[]) => { readonly path: string; readonly value: unknown };
}

/** Options of {@link writeSplitFolder}. */
export interface SplitFolderOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Writes a split's folder: weight files in one sequential pass, with a check of every weight, then the small files. The
 * folder appears under its final name only once it is complete.
 * @param blobPath returns the path of a blob in the store
 * @throws SourceError `exists`, `disk-full`; StoreError `corrupted` naming the weight
 */
export async function writeSplitFolder(
  path: string,
  contents: SplitContents,
  blobPath: (digest: Digest) => string,
  { onProgress, signal }: SplitFolderOptions = {},
): Promise<string> {
  const target = resolve(path);
  await requireEmptyTarget(target, "split into");
  const progress = new SharedArrayBuffer(16);
  const files = contents.weightFiles.map(({ file }) => file);
  using _ = watchProgress(
    progress,
    files.reduce((sum, file) => sum + file.size, 0),
    onProgress,
  );
  await writeAtomically(target, async (temporary) => {
    const [blobs, work] = [join(temporary, ".blobs"), join(temporary, ".work")];
    await makeFolder(blobs);
    await mkdir(work);
    const setup = { blobs, temporary: work, progress, inside: new Map() };
    const written = await writeWeightFiles(files, blobPath, setup, signal);
    const placed = new Map<Digest, string>();
    for (const [index, { digest }] of written.entries()) {
      const out = joinInside(temporary, contents.weightFiles[index]?.path as string);
      await makeFolder(dirname(out));
      const twin = placed.get(digest);
      if (twin !== undefined) await copyFile(twin, out);
      else await rename(join(blobs, digestHex(digest)), out);
      placed.set(digest, out);
      // Blobs are sealed and read-only. These files belong to the user: make them writable.
      await chmod(out, 0o644);
      await utimes(out, new Date(), new Date());
    }
    const record = contents.record(written.map(({ digest }) => digest));
    for (const file of [...contents.written, { path: record.path, bytes: encodeJson(record.value) }]) {
      const out = joinInside(temporary, file.path);
      await makeFolder(dirname(out));
      await writeFile(out, file.bytes, { flush: true, flag: "wx" });
    }
    for (const each of contents.links) await linkInside(temporary, each.path, each.target);
    await rm(blobs, { recursive: true });
    await rm(work, { recursive: true });
    await syncFolder(temporary);
    signal?.throwIfAborted();
  });
  return target;
}

/** Makes a relative symbolic link, which stays valid if the folder moves; a hard link on systems without them. */
async function linkInside(folder: string, path: string, target: string): Promise<void> {
  const out = joinInside(folder, path);
  await makeFolder(dirname(out));
  try {
    await symlink(relative(dirname(out), join(folder, target)), out);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw error;
    await link(join(folder, target), out);
  }
}

/**
 * Reads the JSON record of a split's folder, without checking its fields.
 * @throws SourceError `not-found`, `too-large`; FormatError `malformed`
 */
export async function readSplitRecord(
  folder: string,
  name: string,
): Promise<{ path: string; value: unknown }> {
  const path = join(resolve(folder), name);
  const { handle, stats } = await openRegularFile(path);
  try {
    if (stats.size <= MAX_RECORD_BYTES)
      return { path, value: parseStrictJson(await handle.readFile("utf8"), path) };
  } finally {
    await handle.close();
  }
  throw new SourceError("too-large", `Cannot read "${path}": it is over 512 MiB`, { path });
}

/** Opens the files of a split by digest. */
export class SplitFiles implements BlobReader {
  readonly createDigest: CreateDigest = createSha256;
  readonly blobs: BlobReader["blobs"] = { open: async (digest) => openFileSource(this.#path(digest)) };
  readonly #folder: string;
  readonly #files: ReadonlyMap<Digest, string>;

  constructor(folder: string, files: readonly { readonly path: string; readonly digest: Digest }[]) {
    this.#folder = resolve(folder);
    this.#files = new Map(files.map(({ digest, path }) => [digest, path]));
  }

  #path(digest: Digest): string {
    const path = this.#files.get(digest);
    if (path !== undefined) return join(this.#folder, path);
    throw new StoreError(
      "missing-blob",
      `Cannot find ${digest} in "${this.#folder}": its record has no such file`,
      {
        path: this.#folder,
        digest,
      },
    );
  }
}
