import type { Session } from "../engines/engine.ts";
import type { Method, Weight } from "../model/config.ts";
import { locationOf } from "../model/location-of.ts";
import type { Location } from "../model/manifest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Tensors } from "../tensor/tensor.ts";
import type { MutableWeights, WeightChanges } from "./mutable-weights.ts";
import { type NewWeights, openNewWeights } from "../operations/refit/new-weights.ts";
import type { LocalStore } from "../local-store/local-store.ts";

/** Loads a method of a model. */
export type LoadMethod = (model: StoredModel) => Promise<Session>;

/** A changed weight, and its location in the store. */
interface Staged {
  readonly weight: Weight;
  readonly location: Location;
  readonly from: NewWeights;
}

/**
 * Mutable weights of a model whose graph runs in several sessions. Changed weights are written into the store without a
 * name, for as long as they are used; every change loads all sessions again.
 */
export class RelinkedWeights implements MutableWeights {
  readonly #files: LocalStore;
  readonly #method: Method;
  readonly #load: LoadMethod;
  #session: Session;
  #staged: ReadonlyMap<string, Staged> = new Map();

  private constructor(files: LocalStore, method: Method, load: LoadMethod, session: Session) {
    this.#files = files;
    this.#method = method;
    this.#load = load;
    this.#session = session;
  }

  static async open(
    files: LocalStore,
    model: StoredModel,
    method: Method,
    load: LoadMethod,
  ): Promise<RelinkedWeights> {
    return new RelinkedWeights(files, method, load, await load(model));
  }

  get session(): Session {
    return this.#session;
  }

  get names(): readonly string[] {
    return [...this.#staged.keys()];
  }

  async put(changes: WeightChanges, current: () => Promise<StoredModel>): Promise<"relink"> {
    const model = await current();
    const tensors: Tensors = Object.fromEntries(
      [...changes].flatMap(([name, tensor]) => (tensor ? [[name, tensor] as const] : [])),
    );
    const staged = new Map([...this.#staged].filter(([name]) => !changes.has(name)));
    const from = Object.keys(tensors).length > 0 ? await openNewWeights(this.#files, tensors) : undefined;
    try {
      if (from) await stage(from, staged, `link "${model.name}"`);
      const session = await this.#load(withWeights(model, this.#method, staged));
      const [old, before] = [this.#session, this.#staged];
      this.#session = session;
      this.#staged = staged;
      await old.release();
      await dropUnused(before, staged);
      return "relink";
    } catch (error) {
      await from?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  async release(): Promise<void> {
    await this.#session.release();
    await dropUnused(this.#staged, new Map());
    this.#staged = new Map();
  }
}

/** Adds new weights and their locations to staged ones. */
async function stage(from: NewWeights, staged: Map<string, Staged>, doing: string): Promise<void> {
  const stored = await from.model();
  for (const weight of stored.config.methods.flatMap((method) => method.weights)) {
    const location = locationOf(stored, weight.digest, { doing, weight: weight.name });
    staged.set(weight.name, { weight, location, from });
  }
}

/** Replaces weights of one method with staged weights, and adds the locations of these. */
function withWeights(model: StoredModel, method: Method, staged: ReadonlyMap<string, Staged>): StoredModel {
  const weights = method.weights.map((weight) => {
    const digest = staged.get(weight.name)?.weight.digest;
    return digest ? { ...weight, digest } : weight;
  });
  const methods = model.config.methods.map((each) =>
    each.name === method.name ? { ...each, weights } : each,
  );
  const places = [...staged.values()].map(({ weight, location }) => [weight.digest, location] as const);
  return {
    ...model,
    config: { ...model.config, methods },
    locations: new Map([...places, ...model.locations]),
  };
}

async function dropUnused(
  before: ReadonlyMap<string, Staged>,
  now: ReadonlyMap<string, Staged>,
): Promise<void> {
  const used = new Set([...now.values()].map(({ from }) => from));
  const unused = new Set([...before.values()].map(({ from }) => from).filter((from) => !used.has(from)));
  for (const from of unused) await from[Symbol.asyncDispose]();
}
