import type { Signature } from "../tensor/signature.ts";

/** Forecast of how an engine uses the weights of a program, loaded with the default options. */
export interface LoadForecast {
  readonly signature: Signature;
  /** The operator (in llama.cpp, the types) that makes the engine prepack; `undefined` if it prepacks nothing. */
  readonly prepackingOperator: string | undefined;
  /** Names of the weights that have a prepacked copy in each session. */
  readonly copied: ReadonlySet<string>;
  /** Names of the weights that have one prepacked copy for all sessions and processes. */
  readonly prepacked: ReadonlySet<string>;
  /** Names of the weights that are not mapped because constants folded from them are. Empty before the compilation. */
  readonly folded: ReadonlySet<string>;
  /** Why the program cannot be compiled without its weights; `undefined` if it can. */
  readonly weightlessBlocker: string | undefined;
}

/** Makes the forecast of a program whose weights are all mapped. */
export function plainForecast(signature: Signature = { inputs: [], outputs: [] }): LoadForecast {
  return {
    signature,
    prepackingOperator: undefined,
    copied: new Set(),
    prepacked: new Set(),
    folded: new Set(),
    weightlessBlocker: undefined,
  };
}
