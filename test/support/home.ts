import { join } from "node:path";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { temporaryFolder } from "./temporary.ts";

/** A store of a test's own. */
export interface Home {
  readonly store: TareStore;
  /** The test's folder, which the store lies in. */
  readonly folder: string;
}

/**
 * Opens a store that ends with the test that asked for it: an empty one, or what was made at its path before.
 */
export async function home(
  options: { readonly workers?: number } = {},
  prepare?: (path: string) => Promise<void>,
): Promise<Home> {
  const folder = await temporaryFolder();
  await prepare?.(join(folder, "store"));
  const store = await openStore({ path: join(folder, "store"), ...options });
  return { store, folder };
}
