import type { ReadOptions } from "../io/byte-source.ts";
import { draftWeights } from "./draft.ts";
import type { WeightSource } from "./weight-source.ts";
import { openHttpModel } from "./open-http-model.ts";
import { storedWeights } from "./stored.ts";
import { methodOf } from "../model/plan.ts";
import { type OpenModelData, openModelData } from "./open-model-data.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { readModel } from "../store/read-model.ts";
import { requireModel } from "../store/require-model.ts";

/** Where weights come from: a model of the store, else a path or an `https:` URL; or data of any kind, memory too. */
export type WeightRef = string | WeightSource;

/**
 * Opens weights by name, wherever they are.
 * @param method of a model that has several
 * @throws FormatError, SourceError; LinkError `not-found` for a method
 */
export async function openWeights(
  store: LocalStore,
  source: WeightRef,
  { method, signal }: ReadOptions & { readonly method?: string | undefined },
): Promise<OpenModelData> {
  if (typeof source !== "string") return { ...source, [Symbol.asyncDispose]: async () => undefined };
  if ((await store.names.resolve(source)) !== undefined) {
    const model = await readModel(store, source);
    await requireModel(store, model, { signal });
    const { methods } = model.config;
    const chosen = methods.some((each) => each.name === method) ? method : undefined;
    const { name, constants } = methodOf(model, chosen);
    const data = storedWeights(store, model, { method: name });
    // What belongs to its program is none of its weights.
    const own = new Set(constants.map((constant) => constant.name));
    const keys = (): string[] => data.keys().filter((key) => !own.has(key));
    return { ...data, keys, [Symbol.asyncDispose]: async () => undefined };
  }
  if (!/^https?:\/\//i.test(source)) return openModelData([source], { signal });
  const data = draftWeights(await openHttpModel(source, { signal }));
  return { ...data, [Symbol.asyncDispose]: async () => undefined };
}
