import type { ReadOptions } from "../io/byte-source.ts";
import { formatById } from "../formats/registry.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { openMethods } from "../store/reread.ts";
import type { BlobReader } from "../store/store.ts";
import { chooseMethod } from "./choose-method.ts";
import { loosePlaces, type ModelDataOptions, unreadOf } from "./draft.ts";
import { rangeWeights } from "./range.ts";
import type { UnreadTensor, WeightSource } from "./weight-source.ts";

/** The loose tensors of a stored model, open. Dispose it to close its files. */
export interface OpenLoose extends AsyncDisposable {
  /** Those that can be read. */
  readonly weights: WeightSource;
  readonly unread: readonly UnreadTensor[];
}

/**
 * Opens the tensors of a stored model that are not weights of the store: its files have them in another form. Its
 * programs are read again to find them.
 * @returns `undefined` for a model without such tensors
 * @throws FormatError; LinkError `not-found` for a method
 */
export async function openStoredLoose(
  store: BlobReader,
  model: StoredModel,
  { method: name, constants = false, signal }: ModelDataOptions & ReadOptions,
): Promise<OpenLoose | undefined> {
  const kind = formatById(model.config.format)?.looseTensors;
  if (kind === undefined || (kind === "constants" && !constants)) return undefined;
  const opened = await openMethods(store, model, { signal });
  const close = async (): Promise<void> => opened[Symbol.asyncDispose]();
  try {
    const method = chooseMethod(model.name, opened.methods, name);
    const places = loosePlaces(method, opened.files[method.file]?.source.name ?? model.name, constants);
    const unread = unreadOf(method, constants);
    if (places.length > 0 || unread.length > 0) {
      return { weights: rangeWeights(model.name, places), unread, [Symbol.asyncDispose]: close };
    }
    await close();
    return undefined;
  } catch (error) {
    await close();
    throw error;
  }
}
