import { join } from "node:path";
import { onTestFinished } from "vitest";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { temporaryFolder } from "./temporary.ts";

/** A store of a test's own. */
export interface Home {
  readonly store: TareStore;
  /** The test's folder, which the store lies in. */
  readonly folder: string;
}

/** Opens an empty store that ends with the test that asked for it. */
export async function home(options: { readonly workers?: number } = {}): Promise<Home> {
  const folder = await temporaryFolder();
  const store = await openStore({ path: join(folder, "store"), ...options });
  onTestFinished(() => store[Symbol.asyncDispose]());
  return { store, folder };
}
