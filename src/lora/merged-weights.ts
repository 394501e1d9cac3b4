import { sliceSource } from "../io/byte-source.ts";
import { loadTerms } from "./factors.ts";
import { mergeWeight } from "./merge-weight.ts";
import type { Weight } from "../model/config.ts";
import { locationOf } from "../model/location-of.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { type MergeLora, planLoras } from "./plan-loras.ts";
import type { Store } from "../store/store.ts";

/** A weight that a LoRA changes. */
export interface MergedWeight {
  /** The weight of the method. */
  readonly weight: Weight;
  /** Computes its new bytes in memory. */
  bytes(): Promise<Uint8Array>;
}

/**
 * Plans how a LoRA changes the weights of one method of a model.
 * @throws LinkError for a LoRA that does not match the model
 */
export async function mergedWeights(
  store: Store,
  model: StoredModel,
  method: string,
  lora: Required<MergeLora>,
): Promise<MergedWeight[]> {
  const { planned } = await planLoras(store, model, [lora]);
  return planned.flatMap(({ weight, uses, terms }) =>
    uses
      .filter((use) => use.method === method)
      .map(
        ({ name }): MergedWeight => ({
          weight: { ...weight, name },
          async bytes() {
            const { blob, offset, length } = locationOf(model, weight.digest, {
              doing: `merge into "${model.name}"`,
              weight: name,
            });
            await using source = await store.blobs.open(blob);
            const bytes = new Uint8Array(length);
            let at = 0;
            const report = { touchedBlocks: 0, errorBound: 0 };
            const loaded = await loadTerms(store, terms, {});
            for await (const { after } of mergeWeight(
              weight,
              sliceSource(source, offset, length),
              loaded,
              report,
            )) {
              bytes.set(after, at);
              at += after.byteLength;
            }
            return bytes;
          },
        }),
      ),
  );
}
