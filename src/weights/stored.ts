import { planLink } from "../model/plan.ts";
import type { Binding } from "../model/link-plan.ts";
import type { Digest } from "../tensor/digest.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobReader } from "../store/store.ts";
import { chooseMethod } from "./choose-method.ts";
import type { ModelDataOptions } from "./draft.ts";
import { rangeWeights, type WeightPlace } from "./range.ts";
import type { WeightSource } from "./weight-source.ts";

/**
 * Makes a source of the weights and constants of one method of a stored model, each with its digest. A blob is open
 * only while a weight is read. Does not check the bytes of blobs against their digests.
 * @throws LinkError `missing-weight`, `not-found` for a method; FormatError `size-mismatch`
 */
export function storedWeights(
  store: Pick<BlobReader, "blobs">,
  model: StoredModel,
  options: ModelDataOptions = {},
): WeightSource {
  const { name = model.name, constants: listed = true } = options;
  const method = chooseMethod(name, model.config.methods, options.method);
  const { weights, constants } = planLink(model, method, (blob) => blob);
  const placeOf = ({ name: key, dtype, shape, digest, location, offset, length }: Binding): WeightPlace => {
    const source = (): ReturnType<BlobReader["blobs"]["open"]> => store.blobs.open(location as Digest);
    return { key, layout: { dtype, shape, digest }, path: location, offset, length, source };
  };
  return rangeWeights(name, [
    ...weights.map(placeOf),
    ...constants.map((binding) => ({ ...placeOf(binding), unlisted: !listed })),
  ]);
}
