import type { ReadOptions } from "../io/byte-source.ts";
import { draftWeights, type ModelDataOptions } from "./draft.ts";
import type { WeightSource } from "./weight-source.ts";
import { openModel } from "../node/open-model.ts";

/** The weights of model files that are open. Dispose it to close them. */
export interface OpenModelData extends WeightSource, AsyncDisposable {}

/**
 * Opens the files of one model as named data: a folder, or programs of one folder, in any format that tare reads.
 * Nothing of the weights is read, and nothing is stored.
 * @throws FormatError, SourceError, UsageError; LinkError `not-found` for a method
 */
export async function openModelData(
  paths: readonly string[],
  options: ModelDataOptions & ReadOptions = {},
): Promise<OpenModelData> {
  const model = await openModel(paths, { signal: options.signal });
  try {
    const data = draftWeights(model.draft, options);
    return { ...data, [Symbol.asyncDispose]: () => model[Symbol.asyncDispose]() };
  } catch (error) {
    await model[Symbol.asyncDispose]();
    throw error;
  }
}
