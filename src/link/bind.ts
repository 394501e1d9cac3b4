import { sep } from "node:path";
import { type Alias, aliasedWeights } from "../weights/aliased.ts";
import { locateWeight } from "../weights/locate-weight.ts";
import { matchWeights } from "../weights/match-weights.ts";
import { parseNameMap } from "../weights/name-map.ts";
import type { WeightRef } from "../weights/open-ref.ts";
import { openWeights } from "../weights/open-weights.ts";
import { remoteWeight } from "../weights/remote-weight.ts";
import type { WeightLayout, WeightSource } from "../weights/weight-source.ts";
import { openOnnxProgram } from "./onnx-program.ts";
import { methodOf, planLink } from "../model/plan.ts";
import { readModel } from "../store/read-model.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { requireEngine } from "../engines/engine-of.ts";
import type { BoundParts, Storage, WeightBinding } from "./bound-parts.ts";
import { BoundProgram } from "./bound-program.ts";

/** Hints for weights that do not match. */
const HINTS = {
  "missing-weight": "If names differ, map them with --map",
  "unused-weight": "If names differ, map them with --map",
  mismatch: "Give weights of these dtypes and shapes: the program is compiled for them",
  duplicate: "Map each name to a different weight",
} as const;

/** Options of {@link bind}. */
export interface BindOptions {
  /** Name of the method; optional if the model has one method. */
  readonly method?: string | undefined;
  /** Weights to bind; the model's weights unless given. */
  readonly weights?: WeightRef | undefined;
  /** Names of the model → names of the weights, for names that differ. */
  readonly map?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Binds the ONNX program of a model to weights: its stored weights, a checkpoint in any format, a URL, another model or
 * memory. Every weight must match by name, dtype and shape.
 * @throws WeightMismatchError with every weight that does not match; LinkError; EngineError `unsupported` for a model
 * that is not ONNX; StoreError
 */
export async function bind(
  store: LocalStore,
  name: string,
  options: BindOptions = {},
): Promise<BoundProgram> {
  return new BoundProgram(await partsOf(store, name, options), store);
}

async function partsOf(store: LocalStore, name: string, options: BindOptions): Promise<BoundParts> {
  const { signal, map = {}, weights } = options;
  const model = await readModel(store, name);
  requireEngine(model, "onnxruntime", "link");
  const method = methodOf(model, options.method);
  const plan = planLink(model, method, (blob) => blob);
  const program = await openOnnxProgram(store, model, method, plan);
  const own = await openWeights(weights ?? name, { store, preferredMethod: method.name, signal });
  try {
    const { bound } = matchWeights(method.weights, own, {
      program: name,
      map: parseNameMap(map, "the link"),
      rebind: true,
      hints: HINTS,
    });
    const table = new Map(
      [...bound].map(([weight, key]): [string, Alias] => {
        return [weight, { owner: own, key, layout: own.layout(key) as WeightLayout }];
      }),
    );
    return {
      name,
      method: method.name,
      program,
      digest: plan.program,
      constants: plan.constants,
      data: aliasedWeights(own.name, table),
      bindings: await bindingsOf(table, store),
      close: async () => own[Symbol.asyncDispose](),
    };
  } catch (error) {
    await own[Symbol.asyncDispose]();
    throw error;
  }
}

/** Finds the storage of each weight. */
export async function bindingsOf(
  table: ReadonlyMap<string, Alias>,
  store: LocalStore,
): Promise<WeightBinding[]> {
  const bindings: WeightBinding[] = [];
  for (const [name, { owner, key, layout }] of table) {
    const { dtype, shape, length, digest } = layout;
    bindings.push({ name, dtype, shape, length, digest, key, storage: await storageOf(owner, key, store) });
  }
  return bindings;
}

async function storageOf(owner: WeightSource, key: string, store: LocalStore): Promise<Storage> {
  const range = await locateWeight(owner, key);
  if (range) {
    return { kind: range.path.startsWith(store.paths.blobs + sep) ? "blob" : "file", ...range };
  }
  const remote = await remoteWeight(owner, key);
  return remote ? { kind: "url", ...remote } : { kind: "live", from: owner.name };
}
