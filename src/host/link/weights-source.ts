import type { ReadOptions } from "../../bytes/byte-source.ts";
import { draftNamedData } from "../../compile/named-data/draft-named-data.ts";
import type { NamedData } from "../../compile/named-data/named-data.ts";
import { openHttpModel } from "../../compile/named-data/open-http-model.ts";
import { storedNamedData } from "../../compile/named-data/stored-named-data.ts";
import { methodOf } from "../../link/plan.ts";
import type { FileStore } from "../../node/store/file-store.ts";
import { type OpenModelData, openModelData } from "../model-data.ts";

/** Where weights come from: a model of the store, else a path or an `https:` URL; or data of any kind, memory too. */
export type WeightsSource = string | NamedData;

/**
 * Opens weights by name, wherever they are.
 * @param method of a model that has several
 * @throws FormatError, SourceError; LinkError `not-found` for a method
 */
export async function openWeights(
  store: FileStore,
  source: WeightsSource,
  { method, signal }: ReadOptions & { readonly method?: string | undefined },
): Promise<OpenModelData> {
  if (typeof source !== "string") return { ...source, [Symbol.asyncDispose]: async () => undefined };
  if (await store.has(source)) {
    const model = await store.model(source);
    await store.requireModel(model, false, signal);
    const { methods } = model.config;
    const chosen = methods.some((each) => each.name === method) ? method : undefined;
    const { name, constants } = methodOf(model, chosen);
    const data = storedNamedData(store, model, { method: name });
    // What belongs to its program is none of its weights.
    const own = new Set(constants.map((constant) => constant.name));
    const keys = (): string[] => data.keys().filter((key) => !own.has(key));
    return { ...data, keys, [Symbol.asyncDispose]: async () => undefined };
  }
  if (!/^https?:\/\//i.test(source)) return openModelData([source], { signal });
  const data = draftNamedData(await openHttpModel(source, { signal }));
  return { ...data, [Symbol.asyncDispose]: async () => undefined };
}
