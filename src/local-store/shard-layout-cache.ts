import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../node/atomic-write.ts";
import type { Tag } from "../store/store.ts";
import type { LocalStore } from "./local-store.ts";

/** Increases when shards are planned in another way: then every store is repacked. */
const PLAN_VERSION = 1;

/**
 * Whether exactly these models, with these manifests, were found to be packed in shards: then nothing has to be planned.
 * The note that says so may be deleted at any time; a model that is added, removed or repacked makes it void.
 */
export async function isShardLayoutCurrent(store: LocalStore, tags: readonly Tag[]): Promise<boolean> {
  const note = await readFile(noteOf(store), "utf8").catch(() => "");
  return note === keyOf(tags);
}

/** Notes that the shards of these models are as they should be; in a store that may not be written, it does not. */
export async function cacheShardLayout(store: LocalStore, tags: readonly Tag[]): Promise<void> {
  try {
    await mkdir(store.paths.cache, { recursive: true });
    await writeFileAtomically(noteOf(store), Buffer.from(keyOf(tags)));
  } catch {
    // It is planned again.
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
