import { EngineError } from "../errors.ts";

/** What an engine makes for a cache: one making for each key at a time, whoever asks. */
export class SingleFlight<T> {
  readonly #underway = new Map<string, Promise<T | undefined>>();

  /**
   * Makes what a key stands for, or waits for who does.
   * @returns `undefined` where the engine cannot (memory, a disk that filled up): sessions then do without
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
