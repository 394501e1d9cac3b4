import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { encodeBytes } from "../io/byte-encoding.ts";
import { rangeOf } from "../io/stream.ts";
import { SourceError, StoreError } from "../errors.ts";
import type { StoredFile } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import { fileSegments, type Segment } from "../model/segments.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobReader, BlobSource } from "../store/store.ts";
import { writeAtomically } from "../node/atomic-write.ts";
import { makeFolder } from "../node/make-folder.ts";
import { joinInside } from "../node/join-inside.ts";
import type { Progress } from "../io/progress.ts";
import { writeChunks } from "../node/write-chunks.ts";

/** Options of {@link exportModel}. */
export interface ExportOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of an export. */
export interface ExportResult {
  /** Path of the file, or of the folder for a model of several files. */
  readonly path: string;
  readonly files: readonly string[];
  /** Size of the files in bytes. */
  readonly bytes: number;
}

/**
 * Writes a model's original files, byte for byte: a single file, or a folder for several. Checks every weight and
 * skeleton against its digest. The target appears after all checks.
 * @throws SourceError `exists`, `disk-full`; StoreError `missing-blob`, `corrupted` with the weight's offset
 */
export async function exportModel(
  store: BlobReader,
  model: Pick<StoredModel, "config" | "locations">,
  path: string,
  options: ExportOptions = {},
): Promise<ExportResult> {
  const { files } = model.config;
  const [only] = files;
  const target = await targetOf(path, files.length === 1 && only ? only.path : undefined);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let done = 0;
  const advance = (bytes: number): void => {
    done += bytes;
    options.onProgress?.({ done, total });
  };
  await writeAtomically(target, async (temporary) => {
    for (const file of files) {
      const out = files.length === 1 ? temporary : joinInside(temporary, file.path);
      await makeFolder(dirname(out));
      await writeFile(store, file, fileSegments(model, file), out, advance, options.signal);
    }
  });
  const written = files.length === 1 ? [target] : files.map((file) => join(target, file.path));
  return { path: target, files: written, bytes: total };
}

/**
 * Chooses the target path: a single file may be written into an existing folder.
 * @throws SourceError `exists`
 */
async function targetOf(path: string, file: string | undefined): Promise<string> {
  const stats = await stat(path).catch(() => undefined);
  const target =
    stats?.isDirectory() && file !== undefined ? joinInside(resolve(path), basename(file)) : resolve(path);
  if (target === resolve(path) ? stats : await stat(target).catch(() => undefined)) {
    throw new SourceError("exists", `Cannot write "${target}": it exists already`, {
      path: target,
      hint: "Choose another path, or remove the file first",
    });
  }
  return target;
}

async function writeFile(
  store: BlobReader,
  file: StoredFile,
  segments: readonly Segment[],
  out: string,
  advance: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const handle = await open(out, "wx");
  try {
    await writeChunks(handle, fileChunks(store, file, segments, signal), advance);
  } finally {
    await handle.close();
  }
}

/** Yields the bytes of an original file. Checks each weight, and at the end the skeleton, against its digest. */
async function* fileChunks(
  store: BlobReader,
  file: StoredFile,
  segments: readonly Segment[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const skeleton = createHash("sha256");
  let skeletonBytes = 0;
  let blob: { digest: Digest; source: BlobSource } | undefined;
  try {
    let at = 0;
    for (const { weight, blob: digest, offset, length, fileLength } of segments) {
      if (blob?.digest !== digest) {
        await blob?.source[Symbol.asyncDispose]();
        blob = { digest, source: await store.blobs.open(digest) };
      }
      const hash = weight ? createHash("sha256") : skeleton;
      let written = 0;
      for await (const bytes of rangeOf(blob.source, offset, length, { signal, reuse: true })) {
        hash.update(bytes);
        const encoded = weight ? encodeBytes(weight, bytes) : bytes;
        written += encoded.byteLength;
        yield encoded;
      }
      if (!weight) skeletonBytes += written;
      if (written !== fileLength || (weight && weight.digest !== `sha256:${hash.digest("hex")}`)) {
        throw corrupted(file, digest, at);
      }
      at += written;
    }
    // An empty skeleton has no segment to check.
    if (skeletonBytes > 0 && `sha256:${skeleton.digest("hex")}` !== file.skeleton)
      throw corrupted(file, file.skeleton, 0);
  } finally {
    await blob?.source[Symbol.asyncDispose]();
  }
}

function corrupted(file: StoredFile, digest: Digest, offset: number): StoreError {
  return new StoreError(
    "corrupted",
    `Cannot export "${file.path}": the blob with the bytes from ${offset} on is damaged`,
    {
      path: file.path,
      offset,
      digest,
      hint: "Add the model's original files again: tare add replaces damaged blobs",
    },
  );
}
