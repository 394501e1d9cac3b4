import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeFileAtomically } from "../node/atomic-write.ts";
import type { Tag } from "../store/store.ts";
import { readRegularFile } from "../node/open-regular-file.ts";
import type { LocalStore } from "./local-store.ts";
import { makeOwnFolder } from "./own-folders.ts";

/** Increase it if shards are planned in another way: every store is then repacked. */
const PLAN_VERSION = 1;

/**
 * Whether a cached note says that the shards of exactly these manifests are current, so that no plan is necessary. The
 * note may be deleted at any time; adding, removing or repacking a model invalidates it.
 */
export async function isShardLayoutCurrent(store: LocalStore, tags: readonly Tag[]): Promise<boolean> {
  const note = await readRegularFile(noteOf(store)).catch(() => "");
  return String(note) === keyOf(tags);
}

/** Writes the note that the shards of these manifests are current. Does nothing in a read-only store. */
export async function cacheShardLayout(store: LocalStore, tags: readonly Tag[]): Promise<void> {
  try {
    await makeOwnFolder(store.paths.root, store.paths.cache);
    await writeFileAtomically(noteOf(store), Buffer.from(keyOf(tags)));
  } catch {
    // The next link plans the shards again.
  }
}

function noteOf({ paths }: LocalStore): string {
  return join(paths.cache, "shards");
}

function keyOf(tags: readonly Tag[]): string {
  const pairs = tags.map(({ name, digest }) => JSON.stringify([name, digest])).sort();
  return createHash("sha256")
    .update(JSON.stringify([PLAN_VERSION, ...pairs]))
    .digest("hex");
}
