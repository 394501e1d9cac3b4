import { StoreError, TareError } from "../errors.ts";
import { type Manifest, parseManifest } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { checkName } from "./check-name.ts";
import { readJsonBlob } from "./read-blob.ts";
import type { BlobReader, BlobRef, StoredManifest, TagOptions } from "./store.ts";

/** What a store knows when it gives a name. It changes no names meanwhile. */
export interface NamingContext {
  readonly store: BlobReader & { readonly name: string };
  /** The manifest that the name stands for now. */
  readonly taken: Digest | undefined;
  /** Whether a blob is there with its size: what a writer committed just now is not hashed again. */
  readonly isPresent: (blob: BlobRef) => Promise<boolean>;
  /** Whether a blob is there and whole, as far as that can be known without reading it. */
  readonly isWhole: (blob: BlobRef) => Promise<boolean>;
}

/**
 * Decides which manifest a name is to stand for: the rules of {@link Names.tag}, for every store.
 * @returns the digest of the model's manifest, or of that which the name keeps
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
  // Nothing is named before all of it is there.
  for (const blob of [descriptor, ...manifestBlobs(manifest)]) {
    if (!(await context.isPresent(blob))) throw vanished(store.name, name, blob.digest);
  }
  if (taken === undefined || taken === descriptor.digest) return descriptor.digest;
  const known = await readManifest(store, taken);
  if (known?.config.digest !== manifest.config.digest) {
    if (replace) return descriptor.digest;
    throw new StoreError("name-taken", `Cannot add "${name}": another model has that name`, {
      path: store.name,
      hint: "choose another with --as NAME, or replace it with --replace",
    });
  }
  for (const blob of manifestBlobs(known)) if (!(await context.isWhole(blob))) return descriptor.digest;
  return taken;
}

/** Reads a manifest; `undefined` where it cannot be read. */
async function readManifest(store: BlobReader, digest: Digest): Promise<Manifest | undefined> {
  try {
    return parseManifest(await readJsonBlob(store, digest), `manifest ${digest}`);
  } catch (error) {
    if (error instanceof TareError) return undefined;
    throw error;
  }
}

function vanished(path: string, name: string, digest: Digest): StoreError {
  return new StoreError("missing-blob", `Cannot store "${name}": blob ${digest} vanished`, {
    path,
    digest,
    hint: "something else removes blobs from the store; stop it and try again",
  });
}
