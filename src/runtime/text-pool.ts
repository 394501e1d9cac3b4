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

/** Options of `TareStore.openTexts`. Those of a load hold for every model. */
export interface TextPoolOptions extends Omit<TextLoadOptions, "adapters" | "signal"> {
  /** How many models stay loaded, those used last; 1 unless given. */
  readonly keep?: number | undefined;
  /** Measures what each load adds to the engine's memory, at some 20 ms for each GB that is loaded; off unless given. */
  readonly measure?: boolean | undefined;
}

/** Options of {@link TextPool.swap}. */
export interface SwapOptions {
  /** LoRA adapters of the store to lay over the model: together they are a task like any other. */
  readonly adapters?: readonly Adapter[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A model whose turn it is. */
export interface TextTurn {
  /** The pool's own: it ends when the model has to make room, after the generations under way. */
  readonly session: LlamaSession;
  readonly model: string;
  readonly adapters: readonly Adapter[];
  /** How long the swap took, in milliseconds: without the engine's start, measuring, and the swaps before it. */
  readonly ms: number;
  /** Whether it had to be loaded. */
  readonly fresh: boolean;
}

/** A loaded model, and what it costs beside the others. Sizes in bytes. */
export interface PooledText {
  readonly model: string;
  readonly adapters: readonly Adapter[];
  /** Whether it was swapped to last. */
  readonly current: boolean;
  /** How long its load took, in milliseconds. */
  readonly loadMs: number;
  /** Weights that no other loaded model shares, and its adapters, of which each load has its own. */
  readonly ownBytes: number;
  /** The same at the time of its load: weights that none of the models then loaded had. */
  readonly newBytes: number;
  /**
   * By how much the engine's process grew when it was loaded (PSS): weights that were not in its memory yet, the
   * context, and what the engine set aside or gave back beside that, some megabytes either way. `undefined` unless
   * it is measured, and where the system does not tell: it does on Linux.
   */
  readonly addedBytes: number | undefined;
}

/** A model that is loaded. */
interface Entry {
  /** What it was made of: other manifests under the same names are another model, or the same at other places. */
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
 * GGUF models that take turns in one engine process. The next one is loaded before an old one is released: what they share
 * stays in memory, and a load that fails changes nothing. Dispose it to release its models.
 *
 * @example
 * ```ts
 * await using texts = store.openTexts({ keep: 2 });
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
  /** Used last comes first. */
  #entries: Entry[] = [];
  readonly #releases = new Set<Promise<void>>();
  readonly #seen: SeenModels = new Map();
  #lastSwap: Promise<unknown> = Promise.resolve();

  /** Use `TareStore.openTexts`. */
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

  /** What is loaded now, the current model first; not those that only finish a generation. */
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
   * Makes a model the current one: loads it, unless it is loaded, and lets go of those that are over `keep`. Swaps
   * are done one after the other. If it fails, everything stays as it was.
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

  /** Releases all models, when generations under way are done. */
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
    // Only now: loading it may have laid its family out anew.
    const key = keyOf(model, adapters, adapterModels);
    const others = this.#entries.filter((other) => other.session.live);
    const newBytes = bytesBeside(others, model, adapterModels);
    const addedBytes = before === undefined || after === undefined ? undefined : after - before;
    const entry = { key, session, model, adapters, adapterModels, loadMs, newBytes, addedBytes };
    return { entry, measuringMs };
  }

  /**
   * Puts a model first, and lets go of those over the limit, and of what is not what it is named after anymore. Those
   * that are idle are gone then.
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

  /** Releases a model; generations under way end first. */
  #release({ session }: Entry): Promise<void> {
    const release = session
      .release()
      // A process that died has released it.
      .catch(() => undefined)
      .finally(() => this.#releases.delete(release));
    this.#releases.add(release);
    return release;
  }

  /** Memory of the engine's process, if it is to be measured. */
  async #memory({ pid }: Llama): Promise<number | undefined> {
    return this.#measure && pid !== undefined ? processMemory(pid) : undefined;
  }

  /** What a model and its adapters are at this moment. */
  async #keyOf(name: string, adapters: readonly Adapter[]): Promise<string> {
    const all = await this.#files.names.list();
    const tags = new Map(all.map((tag) => [tag.name, tag]));
    const digests = new Set(all.map((tag) => tag.digest));
    for (const digest of this.#seen.keys()) if (!digests.has(digest)) this.#seen.delete(digest);
    // Of a model that is not there the store tells what there is instead.
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

/** Bytes of a model's weights that others do not have, and of its adapters. */
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

/** Waits for something no longer than for a signal. */
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
