import { type Descriptor, encodeJson, type ImageIndex } from "../model/manifest.ts";
import { withLock } from "./lock.ts";
import { readIndex, type StorePaths } from "./store-paths.ts";
import { withSystemErrors } from "./system-errors.ts";

/** Result of a change of names. */
export interface IndexChange<T> {
  readonly result: T;
  /** New list of `index.json`; left out for no change. */
  readonly manifests?: readonly Descriptor[];
}

/**
 * Changes the names of a store. It is the only writer of `index.json` after the creation of the store. Under its lock, no other
 * process changes `index.json` or collects.
 * @throws StoreError `locked`, also if the lock was lost: nothing is written; SourceError
 */
export async function changeIndex<T>(
  paths: StorePaths,
  change: (index: ImageIndex) => Promise<IndexChange<T>>,
): Promise<T> {
  return withSystemErrors(paths.root, () =>
    withLock(paths, async (lock) => {
      const index = await readIndex(paths);
      const { result, manifests } = await change(index);
      if (manifests) await lock.write(paths.index, encodeJson({ ...index, manifests }));
      return result;
    }),
  );
}
