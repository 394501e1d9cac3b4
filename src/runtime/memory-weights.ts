import type { LiveSession, OnnxRuntime } from "../engines/onnxruntime/engine.ts";
import type { Session } from "../engines/engine.ts";
import { LinkError } from "../errors.ts";
import { openOnnxProgram } from "../link/onnx-program.ts";
import { planLink } from "../model/plan.ts";
import type { Method } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { NumberTensor } from "../tensor/tensor.ts";
import { matchesPattern } from "../model/wildcard.ts";
import type { MutableWeights, WeightChanges } from "./mutable-weights.ts";
import type { MutableOptions } from "./mutable-model.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { requireModel } from "../store/require-model.ts";

/** What fed weights work with. */
export interface MemoryWeightsContext {
  readonly files: LocalStore;
  readonly engine: OnnxRuntime;
  readonly options: MutableOptions;
}

/**
 * Weights that are inputs of the compiled program, held in the session's thread and fed with every run: changing one
 * is handing it over. One that was mapped until then takes another session, over the same mappings.
 */
export class MemoryWeights implements MutableWeights {
  readonly #host: MemoryWeightsContext;
  readonly #method: Method;
  /** Fed from the start, and for good. */
  readonly #declared: ReadonlySet<string>;
  #live: LiveSession;
  #fed: ReadonlySet<string>;

  private constructor(
    host: MemoryWeightsContext,
    method: Method,
    live: LiveSession,
    declared: ReadonlySet<string>,
  ) {
    this.#host = host;
    this.#method = method;
    this.#live = live;
    this.#declared = declared;
    this.#fed = declared;
  }

  static async open(host: MemoryWeightsContext, model: StoredModel, method: Method): Promise<MemoryWeights> {
    const names = declaredNames(model, method, host.options.mutable ?? []);
    const live = await loadOver(host, model, method, names, undefined);
    try {
      // One by one: they are in memory once, and one of them twice.
      for (const name of names)
        await hold(live, await storedTensors(host.files, model, method, new Set([name])));
    } catch (error) {
      await live.session.release();
      throw error;
    }
    return new MemoryWeights(host, method, live, names);
  }

  get session(): Session {
    return this.#live.session;
  }

  get names(): readonly string[] {
    return [...this.#fed];
  }

  async put(changes: WeightChanges, current: () => Promise<StoredModel>): Promise<"in-place" | "relink"> {
    const back = [...changes].flatMap(([name, tensor]) => (tensor ? [] : [name]));
    const fed = new Set(
      [...this.#fed, ...changes.keys()].filter((name) => this.#declared.has(name) || !back.includes(name)),
    );
    const relink = fed.size !== this.#fed.size || [...fed].some((name) => !this.#fed.has(name));
    const all = new Map(changes);
    const again = new Set(back.filter((name) => this.#declared.has(name)));
    if (again.size > 0) {
      const stored = await storedTensors(this.#host.files, await current(), this.#method, again);
      for (const [name, tensor] of stored) all.set(name, tensor);
    }
    if (!relink) {
      await hold(this.#live, all);
      return "in-place";
    }
    const live = await loadOver(this.#host, await current(), this.#method, fed, this.#live);
    try {
      await hold(live, all);
    } catch (error) {
      await live.session.release();
      throw error;
    }
    // The next run goes to the new session; the old one ends when its runs are done.
    const old = this.#live;
    this.#live = live;
    this.#fed = fed;
    await old.session.release();
    return "relink";
  }

  async release(): Promise<void> {
    await this.#live.session.release();
  }
}

/** Weights that patterns select; each selects some. */
function declaredNames(model: StoredModel, method: Method, patterns: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (const pattern of patterns) {
    const found = method.weights.filter(({ name }) => matchesPattern(pattern, name));
    if (found.length === 0) {
      throw new LinkError(
        "not-found",
        `Cannot keep "${pattern}" of "${model.name}" in memory: no weight has such a name`,
        {
          hint: `tare show ${model.name} lists the names`,
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
  fed: ReadonlySet<string>,
  previous: LiveSession | undefined,
): Promise<LiveSession> {
  await requireModel(files, model, { full: options.verify, signal: options.signal });
  const plan = planLink(model, method, (blob) => files.location(blob));
  const source = { plan, open: () => openOnnxProgram(files, model, method, plan) };
  return engine.loadLive(source, files.name, fed, options, previous?.session);
}

/** Hands weights over, by the inputs of the compiled program. */
async function hold(
  { session, inputs }: LiveSession,
  tensors: ReadonlyMap<string, NumberTensor | undefined>,
): Promise<void> {
  await session.hold(
    Object.fromEntries([...tensors].map(([name, tensor]) => [inputs.get(name) ?? name, tensor])),
  );
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
