import type { AnyEngine, EngineContext, EngineEntry } from "./engine-entry.ts";
import { chooseEngine, ownEntry } from "./engine-of.ts";

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
   * Returns the engine of the own entry that has the id of `entry`; opens it on first use. A replacement of an engine has
   * the engine's id.
   * @throws EngineError `no-engine` if there is no such entry, or its library is not installed
   */
  async get<E extends AnyEngine>(entry: EngineEntry<E, never>): Promise<E> {
    const own = ownEntry(entry, this.entries);
    const known = this.#open.get(own.id) ?? own.open(this.#context);
    this.#open.set(own.id, known);
    // An engine of an id has the type of the entry of that id.
    return known as Promise<E>;
  }

  /**
   * Returns the engine that loads a model or a linked program; opens it on first use.
   * @param entry the engine that the caller names; the first that runs the format unless given
   * @throws EngineError `no-engine`, `unsupported`
   */
  async getFor<E extends AnyEngine>(
    program: { readonly name: string; readonly format: string },
    entry: EngineEntry<E, never> | undefined,
  ): Promise<E> {
    // A named engine has the type of its entry; without a name, the caller assumes no type.
    return this.get(chooseEngine(program, entry, this.entries) as unknown as EngineEntry<E, never>);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    for (const each of opened) if (each.status === "fulfilled") await each.value[Symbol.asyncDispose]();
  }
}
