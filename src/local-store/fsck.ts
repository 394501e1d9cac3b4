import { stat } from "node:fs/promises";
import { join } from "node:path";
import { StoreError, TareError } from "../errors.ts";
import { encodeJson, type ImageIndex } from "../model/manifest.ts";
import { createFileAtomically } from "../node/atomic-write.ts";
import { checkName } from "../store/check-name.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { findManifests, type FoundManifest } from "./find-manifests.ts";
import { entryOf, LocalNames } from "./local-names.ts";
import { LocalStore } from "./local-store.ts";
import { withLock } from "./lock.ts";
import { EMPTY_INDEX, LAYOUT, readIndex, StorePaths } from "./store-paths.ts";
import { withSystemErrors } from "./system-errors.ts";
import { type Problem, verifyStore } from "./verify.ts";

/** A model of {@link FsckResult}. */
export interface FsckModel {
  readonly name: string;
  /** Digest of the manifest. */
  readonly digest: Digest;
}

/** Result of {@link fsck}. */
export interface FsckResult {
  /** Whether `index.json` was lost, damaged or without models, and was written again. */
  readonly rebuilt: boolean;
  /** The models of the store. A model whose manifest has no name is `recovered-` and 12 digits of its digest. */
  readonly models: readonly FsckModel[];
  /** Missing and damaged blobs and documents. */
  readonly problems: readonly Problem[];
  /** Manifests that got no name, since a blob is missing and another manifest has their name. */
  readonly left: readonly Digest[];
}

/** Options of {@link fsck}. */
export interface FsckOptions {
  readonly signal?: AbortSignal | undefined;
}

/**
 * Checks the names of a store. If `index.json` is lost, damaged or without models, makes it again from the manifests among the
 * blobs; models that were removed but not collected come back. Then checks every model, as `verify` does.
 * @param path the store's folder
 * @throws StoreError `not-a-store` for a folder without blobs, `locked`; FormatError `newer-version`; SourceError
 */
export async function fsck(path: string, { signal }: FsckOptions = {}): Promise<FsckResult> {
  const paths = new StorePaths(path);
  if (!(await stat(paths.blobs).catch(() => undefined))?.isDirectory()) {
    throw new StoreError("not-a-store", `Cannot check "${paths.root}": it has no blobs`, {
      path: paths.root,
      hint: "Name the folder of a store with --store or TARE_STORE",
    });
  }
  const left = await withSystemErrors(paths.root, () => rebuild(paths, signal));
  await createFileAtomically(join(paths.root, "oci-layout"), encodeJson(LAYOUT));
  const store = await LocalStore.open(paths.root);
  const { problems } = await verifyStore(store, { signal });
  const models = await store.names.list();
  return { rebuilt: left !== undefined, models, problems, left: left ?? [] };
}

/** Makes `index.json` again if it has no models. @returns manifests without a name; `undefined` if it has models */
async function rebuild(paths: StorePaths, signal: AbortSignal | undefined): Promise<Digest[] | undefined> {
  return withLock(paths, async (lock) => {
    const index = await readIfPossible(paths);
    if (index && (await new LocalNames(paths).list()).length > 0) return undefined;
    const { models, others } = await findManifests(paths, signal);
    if (index && models.length === 0) return undefined;
    const { named, left } = nameModels(models);
    const listed = new Set(index?.manifests.map(({ digest }) => digest));
    const manifests = [
      ...(index?.manifests ?? []),
      ...others.filter(({ digest }) => !listed.has(digest)),
      ...[...named].map(([name, found]) => entryOf(name, found)),
    ];
    await lock.write(paths.index, encodeJson({ ...(index ?? EMPTY_INDEX), manifests }));
    return left;
  });
}

async function readIfPossible(paths: StorePaths): Promise<ImageIndex | undefined> {
  return readIndex(paths).catch((error: unknown) => {
    if (error instanceof TareError && error.code !== "newer-version") return undefined;
    throw error;
  });
}

/**
 * Gives each name to its newest complete manifest. An older one keeps its weights under a name of its own if it is complete and
 * of another model.
 */
function nameModels(models: readonly FoundManifest[]): {
  readonly named: ReadonlyMap<string, FoundManifest>;
  readonly left: Digest[];
} {
  const named = new Map<string, FoundManifest>();
  const configs = new Set<Digest>();
  const left: Digest[] = [];
  const take = (name: string, found: FoundManifest): void => {
    named.set(name, found);
    configs.add(found.manifest.config.digest);
  };
  const order = [...models].sort(
    (a, b) => Number(b.complete) - Number(a.complete) || b.committed - a.committed,
  );
  const rest: FoundManifest[] = [];
  for (const found of order) {
    const { name } = found;
    if (name !== undefined && isName(name) && !named.has(name)) take(name, found);
    else rest.push(found);
  }
  for (const found of rest) {
    const { descriptor, manifest, name, complete } = found;
    // The same model, repacked or under another name.
    if (configs.has(manifest.config.digest)) continue;
    if (complete || name === undefined) take(`recovered-${digestHex(descriptor.digest).slice(0, 12)}`, found);
    else left.push(descriptor.digest);
  }
  return { named, left };
}

function isName(name: string): boolean {
  try {
    checkName(name);
    return true;
  } catch {
    return false;
  }
}
