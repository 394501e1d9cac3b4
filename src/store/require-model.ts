import { rangeOf } from "../io/stream.ts";
import { TareError } from "../errors.ts";
import { modelWeights, type StoredModel } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { corruptedBlob, missingBlob } from "./read-blob.ts";
import type { BlobRef, BlobSource, HasOptions, Store } from "./store.ts";

/**
 * Checks that every blob of a model exists and is undamaged.
 * @throws StoreError `missing-blob`, `corrupted`, with the name of the weight
 */
export async function requireModel(
  store: Store,
  model: StoredModel,
  options: HasOptions = {},
): Promise<void> {
  const tensors = new Map(modelWeights(model.config).map(({ digest, name }) => [digest, name]));
  for (const layer of model.manifest.layers) {
    await requireBlob(store, layer, { ...options, tensor: tensors.get(layer.digest) });
  }
}

/**
 * Checks that a blob exists and is undamaged.
 * @param options `tensor`: name of the weight in the blob, for errors
 * @throws StoreError `missing-blob`, `corrupted`
 */
export async function requireBlob(
  store: Store,
  blob: BlobRef,
  options: HasOptions & { readonly tensor?: string | undefined } = {},
): Promise<void> {
  if (await store.blobs.has(blob, options)) return;
  const { digest, size } = blob;
  const { tensor, signal } = options;
  const what = tensor === undefined ? `blob ${digest}` : `the blob of weight "${tensor}"`;
  await using source = await openNamed(store, digest, what, tensor);
  const details = { path: source.name, digest, tensor, offset: 0 };
  if (source.size !== size)
    throw corruptedBlob(what, `it has ${source.size} bytes instead of ${size}`, details);
  const hash = store.createDigest();
  for await (const chunk of rangeOf(source, 0, size, { signal })) hash.update(chunk);
  const found = hash.digest();
  // Another process may have replaced a damaged blob since the check.
  if (found !== digest) throw corruptedBlob(what, `its bytes have digest ${found}`, details);
}

async function openNamed(
  store: Store,
  digest: Digest,
  what: string,
  tensor: string | undefined,
): Promise<BlobSource> {
  return store.blobs.open(digest).catch((error: unknown) => {
    if (!(error instanceof TareError) || error.code !== "missing-blob") throw error;
    throw missingBlob(what, { path: error.path, digest, tensor });
  });
}
