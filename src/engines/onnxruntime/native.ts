/**
 * The part of `onnxruntime-node` that tare uses. The package is an optional peer dependency; the engine's threads import
 * it.
 */
export interface OrtNative {
  readonly InferenceSession: {
    create(model: Uint8Array, options: OrtSessionOptions): Promise<OrtSession>;
  };
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => OrtTensor;
}

/** Session options, as `onnxruntime-common` has them. */
export interface OrtSessionOptions {
  readonly graphOptimizationLevel: "disabled" | "basic" | "extended" | "all";
  readonly optimizedModelFilePath?: string;
  readonly intraOpNumThreads?: number;
  readonly interOpNumThreads?: number;
  readonly logSeverityLevel: 0 | 1 | 2 | 3 | 4;
  readonly extra: { readonly session: Readonly<Record<string, string>> };
}

export interface OrtSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly outputMetadata: readonly OrtPort[];
  run(feeds: Record<string, OrtTensor>, fetches?: readonly string[]): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

/** Properties of an output of a session. */
export interface OrtPort {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  /** Empty if unknown. */
  readonly shape?: readonly (number | string)[];
}

export interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: ArrayBufferView | readonly string[];
}
