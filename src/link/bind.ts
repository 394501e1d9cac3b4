import { sep } from "node:path";
import { type Alias, aliasedWeights } from "../weights/aliased.ts";
import type { WeightSource } from "../weights/weight-source.ts";
import { parseNameMap } from "../weights/name-map.ts";
import { matchWeights } from "../weights/match.ts";
import { LinkError } from "../errors.ts";
import { openOnnxProgram } from "./onnx-program.ts";
import { methodOf, planLink } from "../model/plan.ts";
import type { FileStore } from "../local-store/file-store.ts";
import { requireEngine } from "../engines/engine-of.ts";
import type { BoundParts, Storage, WeightBinding } from "./bound-parts.ts";
import { openWeights, type WeightRef } from "../weights/open.ts";

/** Options of {@link bindStored}. */
export interface BindOptions {
  /** May be left out where the model has one method. */
  readonly method?: string | undefined;
  /** Other weights than the model's own. */
  readonly weights?: WeightRef | undefined;
  /** Names of the model → names in the weights, where they differ. */
  readonly map?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Joins a model's program with weights: its own, or others of the same names, dtypes and shapes. Strict, as a refit is.
 * @throws LinkError listing every weight that does not fit; EngineError `unsupported` for a model that is no ONNX
 */
export async function bindStored(store: FileStore, name: string, options: BindOptions): Promise<BoundParts> {
  const { signal, map = {}, weights } = options;
  const model = await store.model(name);
  requireEngine(model, "onnxruntime", "link");
  const method = methodOf(model, options.method);
  const plan = planLink(model, method, (blob) => blob);
  const program = await openOnnxProgram(store, model, method, plan);
  const own = await openWeights(store, weights ?? name, { method: method.name, signal });
  try {
    const there = new Map(own.keys().map((key) => [key, { name: key, ...layoutOf(own, key) }]));
    const { bound } = matchWeights(method.weights, there, {
      mapping: parseNameMap(map, "the link"),
      doing: "link",
    });
    const table = new Map(
      method.weights.map((weight): [string, Alias] => {
        const key = bound.get(weight.name)?.name ?? weight.name;
        return [weight.name, { owner: own, key, layout: layoutOf(own, key) }];
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

/** Says of each weight where it is. */
export async function bindingsOf(
  table: ReadonlyMap<string, Alias>,
  store: FileStore,
): Promise<WeightBinding[]> {
  const bindings: WeightBinding[] = [];
  for (const [name, { owner, key, layout }] of table) {
    const { dtype, shape, length, digest } = layout;
    bindings.push({ name, dtype, shape, length, digest, key, storage: await storageOf(owner, key, store) });
  }
  return bindings;
}

async function storageOf(owner: WeightSource, key: string, store: FileStore): Promise<Storage> {
  const range = await owner.locate(key);
  if (range) {
    return { kind: range.path.startsWith(store.layout.blobs + sep) ? "blob" : "file", ...range };
  }
  const remote = await owner.remote(key);
  return remote ? { kind: "url", ...remote } : { kind: "live", from: owner.name };
}

function layoutOf(data: WeightSource, key: string): Alias["layout"] {
  const layout = data.layout(key);
  if (layout) return layout;
  throw new LinkError("missing-weight", `Cannot link: "${data.name}" lost "${key}"`, { tensor: key });
}
