import type { Llama } from "../engines/llama/engine.ts";
import type { LlamaSession } from "../engines/llama/session.ts";
import { EngineError } from "../errors.ts";
import { weightBytes } from "../model/sharing.ts";
import type { Digest } from "../tensor/digest.ts";
import { modelWeights, type StoredModel } from "../model/stored-model.ts";
import { processMemory } from "../node/process-memory.ts";
import type { Adapter, SeenModels } from "../link/link-gguf.ts";
import { loadText, type TextLoadOptions } from "./load-text.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import type { Tag } from "../store/store.ts";
import { readModel } from "../store/read-model.ts";

/** Options of `Runtime.openTexts`. The load options apply to every model. */
export interface TextPoolOptions extends Omit<TextLoadOptions, "adapters" | "signal"> {
  /** Number of models that stay loaded, the last used first; 1 unless given. */
  readonly keep?: number | undefined;
  /** Measure by how much each load grows the engine's memory. Takes about 20 ms for each GB; off unless given. */
  readonly measure?: boolean | undefined;
}

/** Options of {@link TextPool.swap}. */
export interface SwapOptions {
  /** LoRA adapters of the store to apply to the model. The pool treats a model with other adapters as another model. */
  readonly adapters?: readonly Adapter[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The current model after a swap. */
export interface TextTurn {
  /** The pool owns the session, and releases it after its running generations when another model needs its place. */
  readonly session: LlamaSession;
  readonly model: string;
  readonly adapters: readonly Adapter[];
  /** Duration of the swap in milliseconds, without the engine's start, measuring, and earlier swaps. */
  readonly ms: number;
  /** Whether the swap loaded the model. */
  readonly fresh: boolean;
}

/** A loaded model, and the memory that it adds to the other loaded models. Sizes in bytes. */
export interface PooledText {
  readonly model: string;
  readonly adapters: readonly Adapter[];
  /** Whether the last swap selected it. */
  readonly current: boolean;
  /** Duration of its load in milliseconds. */
  readonly loadMs: number;
  /** Size of its weights that no other loaded model has, and of its adapters, which loaded models never share. */
  readonly ownBytes: number;
  /** The same size at the time of its load. */
  readonly newBytes: number;
  /**
   * Growth of the engine's process during the load (PSS): weights that were not in memory, the context, and some
   * megabytes that the engine allocated or freed besides. `undefined` unless `measure` is set and the system is Linux.
   */
  readonly addedBytes: number | undefined;
}

/** A loaded model of the pool. */
interface Entry {
  /** Identifies names, manifests and scales. A model that was replaced or repacked under its name has another key. */
  readonly key: string;
  readonly session: LlamaSession;
  readonly model: StoredModel;
  readonly adapters: readonly Adapter[];
  readonly adapterModels: readonly StoredModel[];
  readonly loadMs: number;
  readonly newBytes: number;
  readonly addedBytes: number | undefined;
}

/**
 * GGUF models that take turns in one engine process. The pool loads the next model before it releases an old one, so
 * that their shared weights stay in memory. A failed load changes nothing. Dispose the pool to release its models.
 *
 * @example
 * ```ts
 * await using texts = runtime.openTexts({ keep: 2 });
 * const { session } = await texts.swap("kjv");
 * const { text } = await session.generate("And he said", { maxTokens: 40 });
 * ```
 */
export class TextPool implements AsyncDisposable {
  readonly #files: LocalStore;
  readonly #engine: () => Promise<Llama>;
  readonly #options: TextPoolOptions;
  readonly #keep: number;
  readonly #measure: boolean;
  readonly #closing = new AbortController();
  /** Loaded models, the last used first. */
  #entries: Entry[] = [];
  readonly #releases = new Set<Promise<void>>();
  readonly #seen: SeenModels = new Map();
  #lastSwap: Promise<unknown> = Promise.resolve();

  /** Use `Runtime.openTexts`. */
  constructor(files: LocalStore, engine: () => Promise<Llama>, options: TextPoolOptions) {
    const { keep = 1, measure = false, ...rest } = options;
    if (!Number.isInteger(keep) || keep < 1)
      throw new RangeError(`keep is ${keep}, not a positive whole number`);
    this.#files = files;
    this.#engine = engine;
    this.#options = rest;
    this.#keep = keep;
    this.#measure = measure;
  }

  /** The loaded models, the current one first; without models that only finish a generation. */
  get loaded(): PooledText[] {
    const live = this.#entries.filter((entry) => entry.session.live);
    return live.map((entry) => ({
      model: entry.model.name,
      adapters: entry.adapters,
      current: entry === this.#entries[0],
      loadMs: entry.loadMs,
      ownBytes: bytesBeside(
        live.filter((other) => other !== entry),
        entry.model,
        entry.adapterModels,
      ),
      newBytes: entry.newBytes,
      addedBytes: entry.addedBytes,
    }));
  }

  /**
   * Makes a model the current one: loads it if necessary, and releases models beyond `keep`. Swaps run one after the
   * other. A failed swap changes nothing.
   * @throws StoreError `not-found`, `corrupted`; EngineError `no-engine`, `unsupported`, `engine`, `released`
   */
  async swap(model: string, options: SwapOptions = {}): Promise<TextTurn> {
    const signal = options.signal
      ? AbortSignal.any([options.signal, this.#closing.signal])
      : this.#closing.signal;
    const before = this.#lastSwap;
    const turn = untilAborted(before, signal).then(() => this.#swap(model, options.adapters ?? [], signal));
    this.#lastSwap = Promise.allSettled([before, turn]);
    return turn;
  }

  /** Releases all models after their running generations. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new EngineError("released", "Cannot swap models: the pool was closed"));
    await this.#lastSwap;
    for (const entry of this.#entries.splice(0)) void this.#release(entry);
    await Promise.all(this.#releases);
  }

  async #swap(model: string, adapters: readonly Adapter[], signal: AbortSignal): Promise<TextTurn> {
    signal.throwIfAborted();
    const engine = await this.#engine();
    await engine.start({ signal });
    const began = performance.now();
    const key = await this.#keyOf(model, adapters);
    const known = this.#entries.find((entry) => entry.key === key && entry.session.live);
    const { entry, measuringMs } = known
      ? { entry: known, measuringMs: 0 }
      : await this.#load(engine, model, adapters, signal);
    await this.#admit(entry);
    const ms = performance.now() - began - measuringMs;
    return { session: entry.session, model, adapters, ms, fresh: !known };
  }

  async #load(
    engine: Llama,
    name: string,
    adapters: readonly Adapter[],
    signal: AbortSignal,
  ): Promise<{ readonly entry: Entry; readonly measuringMs: number }> {
    const began = performance.now();
    const before = await this.#memory(engine);
    const loading = performance.now();
    const loaded = await loadText(
      this.#files,
      engine,
      name,
      { ...this.#options, adapters, signal },
      this.#seen,
    );
    const loadMs = performance.now() - loading;
    const after = await this.#memory(engine);
    const measuringMs = performance.now() - began - loadMs;
    const { session, model, adapters: adapterModels } = loaded;
    if (signal.aborted) {
      await session.release();
      throw signal.reason;
    }
    // Compute the key after the load, because the load may repack the family and change its manifests.
    const key = keyOf(model, adapters, adapterModels);
    const others = this.#entries.filter((other) => other.session.live);
    const newBytes = bytesBeside(others, model, adapterModels);
    const addedBytes = before === undefined || after === undefined ? undefined : after - before;
    const entry = { key, session, model, adapters, adapterModels, loadMs, newBytes, addedBytes };
    return { entry, measuringMs };
  }

  /**
   * Puts a model first. Releases models over the limit, and models that the store has replaced under their names. Waits
   * for the release of idle models only.
   */
  async #admit(entry: Entry): Promise<void> {
    const others = this.#entries.filter((other) => other !== entry);
    const replaced = (other: Entry): boolean => !other.session.live || sameTask(other, entry);
    const staying = others.filter((other) => !replaced(other)).slice(0, this.#keep - 1);
    this.#entries = [entry, ...staying];
    const leaving = others.filter((other) => !staying.includes(other));
    const idle = leaving.filter(({ session }) => !session.busy);
    for (const other of leaving) if (!idle.includes(other)) void this.#release(other);
    await Promise.all(idle.map((other) => this.#release(other)));
  }

  /** Releases a model after its running generations. */
  #release({ session }: Entry): Promise<void> {
    const release = session
      .release()
      // The release fails if the process died, and a dead process holds no model.
      .catch(() => undefined)
      .finally(() => this.#releases.delete(release));
    this.#releases.add(release);
    return release;
  }

  /** Memory of the engine's process in bytes; `undefined` unless it is measured. */
  async #memory({ pid }: Llama): Promise<number | undefined> {
    return this.#measure && pid !== undefined ? processMemory(pid) : undefined;
  }

  /** Key of a model and its adapters, from the store's current tags. */
  async #keyOf(name: string, adapters: readonly Adapter[]): Promise<string> {
    const all = await this.#files.names.list();
    const tags = new Map(all.map((tag) => [tag.name, tag]));
    const digests = new Set(all.map((tag) => tag.digest));
    for (const digest of this.#seen.keys()) if (!digests.has(digest)) this.#seen.delete(digest);
    // readModel throws an error for an unknown name that lists the models of the store.
    const find = async (each: string): Promise<Tag> => tags.get(each) ?? readModel(this.#files, each);
    return keyOf(await find(name), adapters, await Promise.all(adapters.map(({ model }) => find(model))));
  }
}

function keyOf(model: Tag, adapters: readonly Adapter[], adapterTags: readonly Tag[]): string {
  const overlays = adapterTags.map(({ name, digest }, index) => [name, digest, adapters[index]?.scale]);
  return JSON.stringify([model.name, model.digest, overlays]);
}

function sameTask(a: Entry, b: Entry): boolean {
  return a.model.name === b.model.name && JSON.stringify(a.adapters) === JSON.stringify(b.adapters);
}

/** Size in bytes of the weights that other models do not have, and of the adapters. */
function bytesBeside(
  others: readonly Entry[],
  model: StoredModel,
  adapterModels: readonly StoredModel[],
): number {
  const theirs = new Set<Digest>(others.flatMap((other) => digestsOf(other.model)));
  const own = new Map(
    modelWeights(model.config)
      .filter(({ digest }) => !theirs.has(digest))
      .map((weight) => [weight.digest, weight]),
  );
  const adapters = adapterModels.flatMap(({ config }) => modelWeights(config));
  return [...own.values(), ...adapters].reduce((sum, weight) => sum + weightBytes(weight), 0);
}

function digestsOf(model: StoredModel): Digest[] {
  return modelWeights(model.config).map((weight) => weight.digest);
}

/**
 * Waits for work until a signal aborts.
 * @throws the signal's reason
 */
async function untilAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  let leave = (): void => undefined;
  const aborted = new Promise<void>((resolve) => {
    leave = resolve;
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
  });
  await Promise.race([work, aborted]);
  signal.removeEventListener("abort", leave);
  signal.throwIfAborted();
}
