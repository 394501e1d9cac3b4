import { namedWeights } from "../../weights/names.ts";
import { proposeMapping, type Proposal } from "./propose.ts";
import type { Weight } from "../../model/config.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { readModel } from "../../store/read-model.ts";
import type { WeightRef } from "../../weights/open-ref.ts";
import { openNewWeights } from "./new-weights.ts";
import type { NewWeightsOptions } from "./new-weights-options.ts";
import { codecOf } from "../../tensor/quantization/codec-of.ts";

/** Largest number of bytes read from each weight: enough values to recognize the weight that it was trained from. */
const MAX_SAMPLE_BYTES = 4096;

/**
 * Proposes a new weight for each weight of a model, by dtype, shape, values and name. Leaves out names that both have.
 */
export async function proposeRefit(
  store: LocalStore,
  base: string,
  source: WeightRef,
  options: NewWeightsOptions = {},
): Promise<Proposal[]> {
  const model = await readModel(store, base);
  await using weights = await openNewWeights(store, source, options);
  const other = await weights.model();
  const qualified = other.config.methods.length > 1;
  const [ours, theirs] = [namedWeights(model.config, qualified), namedWeights(other.config, qualified)];
  const open = [...ours.values()].filter(({ name }) => !theirs.has(name));
  const free = [...theirs.values()].filter(({ name }) => !ours.has(name));
  const [left, right] = [await samplesOf(store, model, open), await samplesOf(store, other, free)];
  return proposeMapping(open, free, {
    model: (name) => left.get(name),
    checkpoint: (name) => right.get(name),
  });
}

/** Reads the first elements of weights as numbers. */
async function samplesOf(
  store: LocalStore,
  model: StoredModel,
  weights: readonly Weight[],
): Promise<Map<string, Float32Array>> {
  const samples = new Map<string, Float32Array>();
  for (const { name, dtype, digest } of weights) {
    const codec = codecOf(dtype);
    const location = model.locations.get(digest);
    if (!codec || !location) continue;
    const blocks = Math.floor(Math.min(MAX_SAMPLE_BYTES, location.length) / codec.blockBytes);
    await using source = await store.blobs.open(location.blob);
    const values = new Float32Array(blocks * codec.blockElements);
    codec.decode(await source.read(location.offset, blocks * codec.blockBytes), values);
    samples.set(name, values);
  }
  return samples;
}
