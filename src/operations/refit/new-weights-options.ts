import type { Progress } from "../../io/progress.ts";

/** Options of `openNewWeights`. */
export interface NewWeightsOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}
