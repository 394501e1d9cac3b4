import type { AnyEngine, EngineContext, EngineEntry } from "./engine-entry.ts";

/** Opens each engine once, on first use. Dispose it to close the open engines. */
export class OpenEngines implements AsyncDisposable {
  /** Entries of the engines that can be opened. */
  readonly entries: readonly EngineEntry[];
  readonly #context: EngineContext;
  readonly #open = new Map<string, Promise<AnyEngine>>();

  constructor(entries: readonly EngineEntry[], context: EngineContext = {}) {
    this.entries = entries;
    this.#context = context;
  }

  /**
   * Returns the engine of an entry; opens it on first use.
   * @throws EngineError `no-engine`
   */
  get<E extends AnyEngine>(entry: EngineEntry<E, never>): Promise<E> {
    const known = this.#open.get(entry.id);
    // Each id has one entry, so the type of the engine is that of the entry.
    if (known) return known as Promise<E>;
    const opening = entry.open(this.#context);
    this.#open.set(entry.id, opening);
    return opening;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    for (const each of opened) if (each.status === "fulfilled") await each.value[Symbol.asyncDispose]();
  }
}
