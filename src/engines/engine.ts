import type { DType } from "../model/dtype.ts";
import type { Tensors } from "../model/tensor.ts";

/** What an engine can do, as data: callers ask instead of trying. */
export interface EngineCapabilities {
  /** Formats of programs that it runs. */
  readonly formats: readonly string[];
  /** Sessions of several models, and processes, share one mapping of a weight. */
  readonly sharesWeights: boolean;
  /** One compiled program serves every model of a family. */
  readonly compilesWeightless: boolean;
  /** `abort` stops a run that has begun; otherwise its result is dropped when it comes. */
  readonly abortsRunning: boolean;
}

/** A named input or output of a session. */
export interface Port {
  readonly name: string;
  /** `undefined` where it is not a dense tensor. */
  readonly dtype: DType | "string" | undefined;
  /** A number, a name, or `undefined` where nothing is said; `undefined` as a whole where the rank is unknown. */
  readonly shape: readonly (number | string | undefined)[] | undefined;
}

/** What a method takes and gives. */
export interface Signature {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** Options of a run. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Outputs wanted; all unless given. */
  readonly outputs?: readonly string[] | undefined;
}

/** A loaded model. Release it (or dispose it) to give its memory back. */
export interface Session extends AsyncDisposable {
  readonly signature: Signature;
  /**
   * Runs the model; never blocks the caller's thread.
   * @throws EngineError `missing-input`, `bad-input` naming the input, `released`, `engine`
   */
  run(inputs: Tensors, options?: RunOptions): Promise<Tensors>;
  /** Ends the session when runs under way are done; a second call does nothing. */
  release(): Promise<void>;
}

/** Where compiled programs are kept: by a key that says all that they depend on. */
export interface CompileCache {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, bytes: Uint8Array): Promise<void>;
}

/** The seam to an engine. Dispose it to end its threads and sessions. */
export interface Engine extends AsyncDisposable {
  readonly id: string;
  readonly version: string;
  readonly capabilities: EngineCapabilities;
}
