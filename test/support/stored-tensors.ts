import { namedWeights } from "../../src/weights/names.ts";
import type { TareStore } from "../../src/tare-store.ts";
import type { NumberTensor } from "../../src/tensor/tensor.ts";
import { LocalStore } from "../../src/local-store/local-store.ts";
import { readModel } from "../../src/store/read-model.ts";

/**
 * The weights of a model of a store, by name.
 * @param method of this method only, under the names that they have there
 */
export async function storedTensors(
  store: TareStore,
  name: string,
  method?: string,
): Promise<Record<string, NumberTensor>> {
  const files = await LocalStore.open(store.path);
  const { config, locations } = await readModel(files, name);
  const weights = method
    ? config.methods.find((each) => each.name === method)?.weights
    : namedWeights(config).values();
  const tensors: Record<string, NumberTensor> = {};
  for (const { name: weight, dtype, shape, digest } of weights ?? []) {
    const at = locations.get(digest);
    if (!at) throw new Error(`${weight} is nowhere`);
    await using source = await files.blobs.open(at.blob);
    tensors[weight] = { dtype, shape, bytes: await source.read(at.offset, at.length) };
  }
  return tensors;
}
