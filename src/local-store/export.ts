import { createHash } from "node:crypto";
import { mkdir, open, stat } from "node:fs/promises";
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
import type { Progress } from "../io/progress.ts";
import { writeChunks } from "../node/write-chunks.ts";

/** Options of {@link exportModel}. */
export interface ExportOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What an export wrote. */
export interface ExportResult {
  /** The file, or the folder of a model with several. */
  readonly path: string;
  readonly files: readonly string[];
  /** In bytes. */
  readonly bytes: number;
}

/**
 * Writes a model's original files, byte for byte: a file where it has one, else a folder. Every weight is checked
 * against its digest on the way, and nothing appears under the final name before all of it is right.
 * @throws SourceError `exists`, `disk-full`; StoreError `missing-blob`, `corrupted` naming the weight's offset
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
      const out = files.length === 1 ? temporary : join(temporary, file.path);
      await mkdir(dirname(out), { recursive: true });
      await writeFile(store, file, fileSegments(model, file), out, advance, options.signal);
    }
  });
  const written = files.length === 1 ? [target] : files.map((file) => join(target, file.path));
  return { path: target, files: written, bytes: total };
}

/** Where to write; a single file may be put into a folder that exists. */
async function targetOf(path: string, file: string | undefined): Promise<string> {
  const stats = await stat(path).catch(() => undefined);
  const target =
    stats?.isDirectory() && file !== undefined ? join(resolve(path), basename(file)) : resolve(path);
  if (target === resolve(path) ? stats : await stat(target).catch(() => undefined)) {
    throw new SourceError("exists", `Cannot write "${target}": it is there already`, {
      path: target,
      hint: "choose another path, or remove it first",
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

/** The bytes of an original file, each weight and the rest checked against its digest when it has passed. */
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
        const spelled = weight ? encodeBytes(weight, bytes) : bytes;
        written += spelled.byteLength;
        yield spelled;
      }
      if (!weight) skeletonBytes += written;
      if (written !== fileLength || (weight && weight.digest !== `sha256:${hash.digest("hex")}`)) {
        throw corrupted(file, digest, at);
      }
      at += written;
    }
    // An empty rest has no segment, and a rest is checked whole, once all of it went by.
    if (skeletonBytes > 0 && `sha256:${skeleton.digest("hex")}` !== file.skeleton)
      throw corrupted(file, file.skeleton, 0);
  } finally {
    await blob?.source[Symbol.asyncDispose]();
  }
}

function corrupted(file: StoredFile, digest: Digest, offset: number): StoreError {
  return new StoreError(
    "corrupted",
    `Cannot export "${file.path}": the blob for byte ${offset} on is damaged`,
    {
      path: file.path,
      offset,
      digest,
      hint: "add the model's original files again: tare add replaces damaged blobs",
    },
  );
}
