import { type Descriptor, encodeJson, type ImageIndex } from "../model/manifest.ts";
import { writeFileAtomically } from "../node/atomic-write.ts";
import { withLock } from "./lock.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";
import { withSystemErrors } from "./system-errors.ts";

/** What a change of the names comes to. */
export interface IndexChange<T> {
  readonly result: T;
  /** What `index.json` lists from now on; left out, it stays as it is. */
  readonly manifests?: readonly Descriptor[];
}

/**
 * Changes the names of a store: the only writer of its `index.json` after the store was made. No other process changes
 * it, or collects, between what `change` reads and what is written.
 * @throws StoreError `locked`, also for a process that slept past its lock: then nothing is written; SourceError
 */
export async function changeIndex<T>(
  paths: StorePaths,
  change: (index: ImageIndex) => Promise<IndexChange<T>>,
): Promise<T> {
  return withSystemErrors(paths.root, () =>
    withLock(paths, async (assertHeld) => {
      const index = await readIndex(paths);
      const { result, manifests } = await change(index);
      if (manifests) {
        assertHeld();
        await writeFileAtomically(paths.index, encodeJson({ ...index, manifests }));
      }
      return result;
    }),
  );
}
