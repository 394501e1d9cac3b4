import { EngineError } from "../errors.ts";

/** Runs at most one computation for each key at a time; concurrent callers of a key share its result. */
export class SingleFlight<T> {
  readonly #underway = new Map<string, Promise<T | undefined>>();

  /**
   * Starts the computation for a key, or waits for the one that runs.
   * @returns `undefined` if the engine failed (out of memory, disk full): sessions work without the result
   */
  async make(key: string, make: () => Promise<T | undefined>): Promise<T | undefined> {
    const making =
      this.#underway.get(key) ??
      make().catch((error: unknown) => {
        if (error instanceof EngineError && error.code === "engine") return undefined;
        throw error;
      });
    this.#underway.set(key, making);
    try {
      return await making;
    } finally {
      this.#underway.delete(key);
    }
  }
}
