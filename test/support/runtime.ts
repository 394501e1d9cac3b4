import { afterAll, onTestFinished } from "vitest";
import type { BoundProgram } from "../../src/link/bound-program.ts";
import { openRuntime, type Runtime } from "../../src/runtime/runtime.ts";
import type { TareStore } from "../../src/tare-store.ts";

const runtimes = new Map<TareStore, Runtime>();

/** The runtime of a store, one for all calls. It ends with the test, or, opened before the tests, with the file. */
export function runtimeOf(store: TareStore): Runtime {
  const known = runtimes.get(store);
  if (known) return known;
  const runtime = openRuntime(store, { workers: 2 });
  runtimes.set(store, runtime);
  try {
    onTestFinished(() => endRuntime(store));
  } catch {
    // Called by a hook of the whole file, outside a test.
  }
  return runtime;
}

/** Ends the runtime of a store now. */
export async function endRuntime(store: TareStore): Promise<void> {
  const runtime = runtimes.get(store);
  runtimes.delete(store);
  await runtime?.[Symbol.asyncDispose]();
}

afterAll(async () => {
  for (const store of runtimes.keys()) await endRuntime(store);
});

/** Loads a program that was bound to other weights. */
export async function loadBound(
  store: TareStore,
  program: BoundProgram,
): Promise<Awaited<ReturnType<Runtime["load"]>>> {
  return runtimeOf(store).load(await program.link());
}
