import type { Session } from "../engines/engine.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { NumberTensor } from "../tensor/tensor.ts";

/** New weights by name; `undefined` restores the stored weight. */
export type WeightChanges = ReadonlyMap<string, NumberTensor | undefined>;

/** The changeable weights of a loaded model, and the session that uses them. */
export interface MutableWeights {
  /** Session of the next run. Running calls finish in the session that they started in. */
  readonly session: Session;
  /** Names of the weights that are not mapped from the model's blobs. */
  readonly names: readonly string[];
  /**
   * Changes weights in one step; a failure changes nothing.
   * @param current reads the current manifest of the model, for weights that have to be read again
   */
  put(changes: WeightChanges, current: () => Promise<StoredModel>): Promise<"in-place" | "relink">;
  release(): Promise<void>;
}
