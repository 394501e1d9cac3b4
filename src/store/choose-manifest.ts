import { StoreError, TareError } from "../errors.ts";
import { type Manifest, parseManifest } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { checkName } from "./check-name.ts";
import { readJsonBlob } from "./read-blob.ts";
import type { BlobReader, BlobRef, StoredManifest, TagOptions } from "./store.ts";

/** The state of a store while it tags a name. No other writer may change names during the call. */
export interface NamingContext {
  readonly store: BlobReader & { readonly name: string };
  /** Digest of the manifest that the name refers to now; `undefined` for a new name. */
  readonly taken: Digest | undefined;
  /** Whether the store has a blob of this size. It is not hashed: a writer committed it just now. */
  readonly isPresent: (blob: BlobRef) => Promise<boolean>;
  /** Whether the store has an undamaged blob, as far as that is known without reading it. */
  readonly isWhole: (blob: BlobRef) => Promise<boolean>;
}

/**
 * Chooses the manifest that a name refers to: the rules of {@link Names.tag}, for every store.
 * @returns the digest of the model's manifest, or of the current manifest if the name keeps it
 * @throws StoreError `bad-name`, `name-taken`, `missing-blob`
 */
export async function chooseManifest(
  context: NamingContext,
  name: string,
  model: StoredManifest,
  { replace }: TagOptions,
): Promise<Digest> {
  checkName(name);
  const { store, taken } = context;
  const { descriptor, manifest } = model;
  // A name must not refer to missing blobs.
  for (const blob of [descriptor, ...manifestBlobs(manifest)]) {
    if (!(await context.isPresent(blob))) throw vanished(store.name, name, blob.digest);
  }
  if (taken === undefined || taken === descriptor.digest) return descriptor.digest;
  const known = await readManifest(store, taken);
  if (known?.config.digest !== manifest.config.digest) {
    if (replace) return descriptor.digest;
    throw new StoreError("name-taken", `Cannot add "${name}": another model has this name`, {
      path: store.name,
      hint: "Choose another name with --as NAME, or replace the model with --replace",
    });
  }
  for (const blob of manifestBlobs(known)) if (!(await context.isWhole(blob))) return descriptor.digest;
  return taken;
}

/** Reads a manifest; `undefined` if it cannot be read. */
export async function readManifest(store: BlobReader, digest: Digest): Promise<Manifest | undefined> {
  try {
    return parseManifest(await readJsonBlob(store, digest), `manifest ${digest}`);
  } catch (error) {
    if (error instanceof TareError) return undefined;
    throw error;
  }
}

function vanished(path: string, name: string, digest: Digest): StoreError {
  return new StoreError("missing-blob", `Cannot store "${name}": blob ${digest} is no longer in the store`, {
    path,
    digest,
    hint: "Stop the process that removes blobs from the store, and try again",
  });
}
