import type { Session } from "../engines/engine.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { NumberTensor } from "../tensor/tensor.ts";

/** New weights by name; `undefined` for one that is again what the store has. */
export type WeightChanges = ReadonlyMap<string, NumberTensor | undefined>;

/** How the weights of a loaded model get to its sessions, and change there. */
export interface MutableWeights {
  /** What runs now; runs under way finish where they began. */
  readonly session: Session;
  /** Names of the weights that are not the store's own. */
  readonly names: readonly string[];
  /**
   * Changes weights, all at once; if it fails nothing changed.
   * @param current gives the model as the store has it now, for what has to be read again
   */
  put(changes: WeightChanges, current: () => Promise<StoredModel>): Promise<"in-place" | "relink">;
  release(): Promise<void>;
}
