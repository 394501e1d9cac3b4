import type { AnyEngine, EngineContext, EngineEntry } from "./engine-entry.ts";

/** The engines of a host: each is opened when it is first needed, once. Dispose it to close those that were opened. */
export class OpenEngines implements AsyncDisposable {
  /** Those that can be opened. */
  readonly entries: readonly EngineEntry[];
  readonly #context: EngineContext;
  readonly #open = new Map<string, Promise<AnyEngine>>();

  constructor(entries: readonly EngineEntry[], context: EngineContext = {}) {
    this.entries = entries;
    this.#context = context;
  }

  /**
   * Gives an engine.
   * @throws EngineError `no-engine`
   */
  get<E extends AnyEngine>(entry: EngineEntry<E, never>): Promise<E> {
    const known = this.#open.get(entry.id);
    // An id has one entry, and so one type.
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
