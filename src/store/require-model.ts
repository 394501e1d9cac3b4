import { rangeOf } from "../io/stream.ts";
import { TareError } from "../errors.ts";
import { modelWeights, type StoredModel } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { corruptedBlob, missingBlob } from "./read-blob.ts";
import type { BlobRef, BlobSource, HasOptions, Store } from "./store.ts";

/**
 * Makes sure that an engine may use every weight of a model: each blob is there, whole, and unchanged since it was hashed.
 * @throws StoreError `missing-blob`, `corrupted`, naming the weight
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
 * Makes sure that a blob may be used.
 * @param options `tensor`: the weight that it is, which errors then name
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
  if (source.size !== size) throw corruptedBlob(what, `it does not have ${size} bytes`, details);
  const hash = store.createDigest();
  for await (const chunk of rangeOf(source, 0, size, { signal })) hash.update(chunk);
  const found = hash.digest();
  // Another process may have replaced it since.
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
