import type { OnnxRuntime } from "../engines/onnxruntime/engine.ts";
import type { ThreadSession } from "../engines/onnxruntime/session.ts";
import { LinkError } from "../errors.ts";
import { StoredOnnx } from "../link/stored-program.ts";
import type { Method } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { NumberTensor } from "../tensor/tensor.ts";
import { matchesPattern } from "../model/wildcard.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import type { MutableWeights, WeightChanges } from "./mutable-weights.ts";
import type { MutableOptions } from "./mutable-model.ts";
import { requireModel } from "../store/require-model.ts";

/** The store, the engine and the load options of weights in memory. */
export interface MemoryWeightsContext {
  readonly files: LocalStore;
  readonly engine: OnnxRuntime;
  readonly options: MutableOptions;
}

/**
 * Mutable weights as inputs of the compiled program. The session's thread holds them in memory and passes them to every
 * run, so a change only sends the new tensor to the thread. To change a mapped weight, the program is loaded as a new
 * session over the same mappings.
 */
export class MemoryWeights implements MutableWeights {
  readonly #host: MemoryWeightsContext;
  readonly #method: Method;
  /** Names of weights that are in memory from the load to the release. */
  readonly #declared: ReadonlySet<string>;
  #session: ThreadSession;
  #inMemory: ReadonlySet<string>;

  private constructor(
    host: MemoryWeightsContext,
    method: Method,
    session: ThreadSession,
    declared: ReadonlySet<string>,
  ) {
    this.#host = host;
    this.#method = method;
    this.#session = session;
    this.#declared = declared;
    this.#inMemory = declared;
  }

  static async open(host: MemoryWeightsContext, model: StoredModel, method: Method): Promise<MemoryWeights> {
    const names = declaredNames(model, method, host.options.mutable ?? []);
    const session = await loadOver(host, model, method, names, undefined);
    try {
      // Send weights one by one, so that at most one of them is in memory twice.
      for (const name of names)
        await session.hold(await storedTensors(host.files, model, method, new Set([name])));
    } catch (error) {
      await session.release();
      throw error;
    }
    return new MemoryWeights(host, method, session, names);
  }

  get session(): ThreadSession {
    return this.#session;
  }

  get names(): readonly string[] {
    return [...this.#inMemory];
  }

  async put(changes: WeightChanges, current: () => Promise<StoredModel>): Promise<"in-place" | "relink"> {
    const back = [...changes].flatMap(([name, tensor]) => (tensor ? [] : [name]));
    const inMemory = new Set(
      [...this.#inMemory, ...changes.keys()].filter(
        (name) => this.#declared.has(name) || !back.includes(name),
      ),
    );
    const relink =
      inMemory.size !== this.#inMemory.size || [...inMemory].some((name) => !this.#inMemory.has(name));
    const all = new Map(changes);
    const again = new Set(back.filter((name) => this.#declared.has(name)));
    if (again.size > 0) {
      const stored = await storedTensors(this.#host.files, await current(), this.#method, again);
      for (const [name, tensor] of stored) all.set(name, tensor);
    }
    if (!relink) {
      await this.#session.hold(all);
      return "in-place";
    }
    const session = await loadOver(this.#host, await current(), this.#method, inMemory, this.#session);
    try {
      await session.hold(all);
    } catch (error) {
      await session.release();
      throw error;
    }
    // The next run uses the new session; the old one ends when its runs are done.
    const old = this.#session;
    this.#session = session;
    this.#inMemory = inMemory;
    await old.release();
    return "relink";
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/**
 * Finds the names of the weights that patterns select.
 * @throws LinkError `not-found` for a pattern that selects no weight
 */
function declaredNames(model: StoredModel, method: Method, patterns: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (const pattern of patterns) {
    const found = method.weights.filter(({ name }) => matchesPattern(pattern, name));
    if (found.length === 0) {
      throw new LinkError(
        "not-found",
        `Cannot keep "${pattern}" of "${model.name}" in memory: no weight has such a name`,
        {
          hint: `List the names with: tare show ${model.name}`,
        },
      );
    }
    for (const { name } of found) names.add(name);
  }
  return names;
}

async function loadOver(
  { files, engine, options }: MemoryWeightsContext,
  model: StoredModel,
  method: Method,
  inMemory: ReadonlySet<string>,
  previous: ThreadSession | undefined,
): Promise<ThreadSession> {
  await requireModel(files, model, { full: options.verify, signal: options.signal });
  return engine.load(new StoredOnnx(files, model, method, inMemory), options, previous);
}

async function storedTensors(
  files: LocalStore,
  model: StoredModel,
  method: Method,
  names: ReadonlySet<string>,
): Promise<Map<string, NumberTensor>> {
  const tensors = new Map<string, NumberTensor>();
  for (const { name, dtype, shape, digest } of method.weights) {
    const location = names.has(name) ? model.locations.get(digest) : undefined;
    if (!location) continue;
    await using source = await files.blobs.open(location.blob);
    tensors.set(name, { dtype, shape, bytes: await source.read(location.offset, location.length) });
  }
  return tensors;
}
