import { open } from "node:fs/promises";
import { join } from "node:path";
import { alignUp, zeros } from "../../io/align.ts";
import type { ByteSource } from "../../io/byte-source.ts";
import { rangeOf } from "../../io/stream.ts";
import type { FileDraft, MethodDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import { fileError, type FileSource, openFileSource } from "../../node/file-source.ts";
import { writeAll } from "../../node/write-chunks.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import type { OpenedRef } from "../../weights/opened-ref.ts";
import { streamWeight } from "../../weights/stream-weight.ts";
import { noSuchWeight, type WeightSource } from "../../weights/weight-source.ts";
import type { NewWeightsOptions } from "./new-weights-options.ts";

/** Alignment of weights in a temporary file, in bytes. */
const ALIGNMENT = 64;

/** A model draft with open local files. Dispose it to close the files, and to remove temporary ones. */
export interface LocalDraft extends AsyncDisposable {
  readonly draft: ModelDraft<FileSource>;
}

/**
 * Opens a resolved reference as local files. Streams files of the web, and weights of a caller's source, into temporary
 * files of the store.
 */
export async function openLocalDraft(
  store: LocalStore,
  opened: Exclude<OpenedRef, { readonly kind: "model" }>,
  options: NewWeightsOptions,
): Promise<LocalDraft> {
  const local = await openFiles(store, opened, options);
  try {
    return await withLooseTensors(store, local, options);
  } catch (error) {
    await local[Symbol.asyncDispose]();
    throw error;
  }
}

/** Gives loose tensors a file of their own, in which they are weights: little-endian, row-major. */
async function withLooseTensors(
  store: LocalStore,
  local: LocalDraft,
  { signal }: NewWeightsOptions,
): Promise<LocalDraft> {
  const { draft } = local;
  const file = draft.files.length;
  const contents: { readonly offset: number; readonly source: ByteSource }[] = [];
  let size = 0;
  const methods = draft.methods.map((method): MethodDraft => {
    const added = (method.loose ?? []).flatMap(({ name, content, isConstant }): WeightDraft[] => {
      if (!content || isConstant) return [];
      const source = content.open();
      const offset = alignUp(size, ALIGNMENT);
      size = offset + source.size;
      contents.push({ offset, source });
      return [
        { name, dtype: content.dtype, shape: content.shape, at: { file, offset, length: source.size } },
      ];
    });
    return { ...method, weights: [...method.weights, ...added] };
  });
  if (contents.length === 0) return local;
  async function* chunks(): AsyncGenerator<Uint8Array> {
    let at = 0;
    for (const { offset, source } of contents) {
      yield* zeros(offset - at);
      yield* rangeOf(source, 0, source.size, { signal });
      at = offset + source.size;
    }
  }
  const lease = await store.blobs.lease();
  try {
    const path = join(lease.folder, "loose-tensors");
    await write(path, chunks(), () => undefined);
    const source = await openFileSource(path);
    return {
      draft: { ...draft, methods, files: [...draft.files, { path: "loose-tensors", source }] },
      async [Symbol.asyncDispose]() {
        await source[Symbol.asyncDispose]();
        await lease[Symbol.asyncDispose]();
        await local[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await lease[Symbol.asyncDispose]();
    throw error;
  }
}

async function openFiles(
  store: LocalStore,
  opened: Exclude<OpenedRef, { readonly kind: "model" }>,
  options: NewWeightsOptions,
): Promise<LocalDraft> {
  if (opened.kind === "files") {
    return { draft: opened.draft, [Symbol.asyncDispose]: async () => undefined };
  }
  const lease = await store.blobs.lease();
  const files: FileSource[] = [];
  const close = async (): Promise<void> => {
    for (const file of files.splice(0)) await file[Symbol.asyncDispose]();
    await lease[Symbol.asyncDispose]();
  };
  try {
    const { signal, onProgress } = options;
    const copy = opened.kind === "url" ? copyOf(opened.draft, signal) : fileOf(opened.source, signal);
    let done = 0;
    for (const [nth, { chunks }] of copy.files.entries()) {
      const path = join(lease.folder, `new-weights-${nth}`);
      await write(path, chunks, (bytes) => onProgress?.({ done: (done += bytes), total: copy.size }));
      files.push(await openFileSource(path));
    }
    const local = copy.files.map(
      ({ path }, nth): FileDraft<FileSource> => ({ path, source: files[nth] as FileSource }),
    );
    return { draft: { ...copy.draft, files: local }, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Writes a temporary file, without fsync because no other process reads it. */
async function write(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const file = await open(path, "wx", 0o600).catch((cause: unknown) => {
    throw fileError(path, "write", cause);
  });
  try {
    let at = 0;
    for await (const chunk of chunks) {
      await writeAll(file, chunk, at).catch((cause: unknown) => {
        throw fileError(path, "write", cause);
      });
      at += chunk.byteLength;
      onBytes(chunk.byteLength);
    }
  } finally {
    await file.close();
  }
}

/** A model draft, and the bytes of its files. */
interface Copy {
  readonly draft: Omit<ModelDraft, "files">;
  readonly files: readonly { readonly path: string; readonly chunks: AsyncIterable<Uint8Array> }[];
  /** Size of all files, in bytes. */
  readonly size: number;
}

/** Streams the files of a model on the web. */
function copyOf(draft: ModelDraft, signal: AbortSignal | undefined): Copy {
  const files = draft.files.map(({ path, source }) => {
    return { path, chunks: rangeOf(source, 0, source.size, { signal }) };
  });
  return { draft, files, size: draft.files.reduce((sum, { source }) => sum + source.size, 0) };
}

/** Lays out the weights of a source one after the other in one file. */
function fileOf(source: WeightSource, signal: AbortSignal | undefined): Copy {
  let size = 0;
  const weights = source.keys().map((name): WeightDraft => {
    const layout = source.layout(name);
    if (!layout) throw noSuchWeight(source, name);
    const { dtype, shape, length } = layout;
    const offset = alignUp(size, ALIGNMENT);
    size = offset + length;
    return { name, dtype, shape, at: { file: 0, offset, length } };
  });
  async function* chunks(): AsyncGenerator<Uint8Array> {
    let at = 0;
    for (const { name, at: place } of weights) {
      yield* zeros(place.offset - at);
      yield* streamWeight(source, name, { signal, reuse: true });
      at = place.offset + place.length;
    }
  }
  const methods = [{ name: "weights", file: 0, weights, constants: [] }];
  return { draft: { format: "weights", methods }, files: [{ path: "weights", chunks: chunks() }], size };
}
