import { StoreError, TareError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import {
  type Descriptor,
  encodeJson,
  type Manifest,
  MediaType,
  parseManifest,
  REF_NAME,
} from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import { writeFileAtomically } from "../node/atomic-write.ts";
import { readJsonBlob } from "./blobs.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";
import { isWholeSync } from "./commit-blob.ts";

/** A name of the store and what it stands for. */
export interface Tag {
  readonly name: string;
  readonly digest: Digest;
}

/** The models of the store, by name; other things that an OCI tool put there are left out. */
export async function listTags(layout: StorePaths): Promise<Tag[]> {
  const tags: Tag[] = [];
  for (const descriptor of (await readIndex(layout)).manifests) {
    const name = descriptor.annotations?.[REF_NAME];
    if (name !== undefined && (await isModel(layout, descriptor)))
      tags.push({ name, digest: descriptor.digest });
  }
  return tags.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function isModel(
  layout: StorePaths,
  { artifactType, mediaType, digest }: Descriptor,
): Promise<boolean> {
  if (artifactType !== undefined) return artifactType === MediaType.model;
  if (mediaType !== MediaType.manifest) return false;
  // A client that copied the model here may have dropped artifactType from the index: the manifest decides. One that
  // cannot be read counts as a model: whoever uses it is told what is wrong.
  try {
    const manifest = parseManifest(await readJsonBlob(layout, digest), `manifest ${digest}`);
    return manifest.config.mediaType === MediaType.config;
  } catch {
    return true;
  }
}

/**
 * Finds a model by name.
 * @throws StoreError `not-found`, naming what is there
 */
export async function findTag(layout: StorePaths, name: string): Promise<Tag> {
  const tags = await listTags(layout);
  const tag = tags.find((each) => each.name === name);
  if (tag) return tag;
  const names = tags.slice(0, 10).map((each) => each.name);
  const hint =
    names.length > 0
      ? `it has ${names.join(", ")}${tags.length > 10 ? ", …" : ""}`
      : "it is empty: tare add FILES";
  throw new StoreError("not-found", `Cannot find model "${name}" in the store`, { path: layout.root, hint });
}

/** A model to be named. */
export interface Naming {
  /** Its manifest. */
  readonly manifest: Descriptor;
  /** Digest of its config: what the model is, wherever its bytes lie. */
  readonly config: Digest;
  /** Take the name from another model. */
  readonly replace: boolean;
}

/**
 * Puts a model under a name. A name that stands for the same model keeps the manifest that it has, if all of
 * that is whole. The caller holds the lock.
 * @returns the manifest that the name stands for now
 * @throws StoreError `name-taken`
 */
export async function writeTag(layout: StorePaths, name: string, naming: Naming): Promise<Digest> {
  const { manifest, config, replace } = naming;
  const index = await readIndex(layout);
  const taken = index.manifests.find((each) => each.annotations?.[REF_NAME] === name);
  if (taken?.digest === manifest.digest) return taken.digest;
  const known = taken && (await manifestOf(layout, taken));
  const same = known?.config.digest === config;
  if (taken && known && same) {
    const whole = manifestBlobs(known).every(({ digest, size }) => isWholeSync(layout.blob(digest), size));
    if (whole) return taken.digest;
  }
  if (taken && !same && !replace) {
    const hint = "choose another with --as NAME, or replace it with --replace";
    throw new StoreError("name-taken", `Cannot add "${name}": another model has that name`, {
      path: layout.root,
      hint,
    });
  }
  const entry: Descriptor = { ...manifest, artifactType: MediaType.model, annotations: { [REF_NAME]: name } };
  const manifests = [...index.manifests.filter((each) => each !== taken), entry];
  await writeFileAtomically(layout.index, encodeJson({ ...index, manifests }));
  return manifest.digest;
}

/** Reads a manifest; `undefined` where it cannot be read. */
async function manifestOf(layout: StorePaths, { digest }: Descriptor): Promise<Manifest | undefined> {
  try {
    return parseManifest(await readJsonBlob(layout, digest), `manifest ${digest}`);
  } catch (error) {
    if (error instanceof TareError) return undefined;
    throw error;
  }
}

/**
 * Gives models other manifests, all or none: the same models, their bytes laid out anew. The caller holds the lock.
 * @returns whether every name still stood for the manifest that it is to be moved from
 */
export async function moveTags(
  layout: StorePaths,
  moves: readonly { readonly name: string; readonly from: Digest; readonly to: Descriptor }[],
): Promise<boolean> {
  const index = await readIndex(layout);
  const wanted = new Map(moves.map((move) => [move.name, move]));
  const manifests = index.manifests.map((each) => {
    const move = wanted.get(each.annotations?.[REF_NAME] ?? "");
    if (!move || move.from !== each.digest) return each;
    wanted.delete(move.name);
    return { ...move.to, artifactType: MediaType.model, annotations: { [REF_NAME]: move.name } };
  });
  if (wanted.size > 0) return false;
  await writeFileAtomically(layout.index, encodeJson({ ...index, manifests }));
  return true;
}

/** Takes a name away. The caller holds the lock. */
export async function removeTag(layout: StorePaths, name: string): Promise<void> {
  await findTag(layout, name);
  const index = await readIndex(layout);
  const manifests = index.manifests.filter((each) => each.annotations?.[REF_NAME] !== name);
  await writeFileAtomically(layout.index, encodeJson({ ...index, manifests }));
}

/** Names are tags of an OCI layout: what every client accepts, and no path of its own. */
export function checkName(name: string): void {
  if (/^[A-Za-z0-9]+(?:[._/-]{1,2}[A-Za-z0-9]+)*$/.test(name) && name.length <= 128 && !name.includes(".."))
    return;
  throw new StoreError("bad-name", `Cannot use "${name}" as a name`, {
    hint: "use up to 128 letters and digits, with . _ - or / between them",
  });
}
