import { planLink } from "../model/plan.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { chooseMethod } from "../compile/backends/choose-method.ts";
import type { ModelDataOptions } from "./draft.ts";
import type { WeightSource } from "./weight-source.ts";
import { rangeWeights } from "./range.ts";
import type { BlobReader } from "../store/store.ts";

/**
 * The weights of a model in a store, and the constants beside them, each with its digest. A blob is open only while
 * it is read. That blobs are what their digests say is the store's to promise.
 * @throws LinkError `missing-weight`, `not-found` for a method; FormatError `size-mismatch`
 */
export function storedWeights(
  store: BlobReader,
  model: StoredModel,
  options: ModelDataOptions = {},
): WeightSource {
  const { name = model.name } = options;
  const method = chooseMethod(name, model.config.methods, options.method);
  const { weights, constants } = planLink(model, method, (blob) => blob);
  const places = [...weights, ...constants].map((binding) => {
    const { name: key, dtype, shape, digest, location, offset, length } = binding;
    return {
      key,
      layout: { dtype, shape, digest },
      path: location,
      offset,
      length,
      open: async () => {
        const source = await store.blobs.open(location as Digest);
        return { source, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() };
      },
    };
  });
  return rangeWeights(name, places);
}
