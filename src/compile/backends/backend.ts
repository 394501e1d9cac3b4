import type { OnnxModel, OnnxNode } from "../../formats/onnx/graph.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { Binding } from "../../model/link-plan.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { Signature } from "../../tensor/signature.ts";
import type { Tensors } from "../../tensor/tensor.ts";
import type { CompileRecord } from "./compiled-model.ts";

/** The form of programs that ONNX Runtime loads: ONNX, each weight external data that names the weight itself. */
export const ONNX_FORM = "onnx";

/** A weight that a partition's program leaves open. */
export interface PartitionWeight {
  /** Name of the tensor in the partition's program, unique there. */
  readonly input: string;
  /** Name in the method's weight table. */
  readonly weight: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A run of a method's nodes that one backend compiles: a program of its own. No value of a weight is in it. */
export interface Partition {
  readonly method: string;
  /** Among the method's partitions, in the order in which they run. */
  readonly index: number;
  /** Says all that the program depends on: what is kept under it serves every model of the family. */
  readonly key: string;
  /** ONNX, each weight external data whose location is `weight:` and its name. */
  readonly program: Uint8Array;
  /** The program, parsed; offsets are those of {@link Partition.program}. */
  readonly graph: OnnxModel;
  readonly signature: Signature;
  readonly weights: readonly PartitionWeight[];
}

/** How a program wants a weight. */
export interface BackendBinding {
  /** What the program calls it. */
  readonly input: string;
  /** Name in the method's weight table. */
  readonly weight: string;
  /** `row-major`, the weight's own bytes, or what else the backend makes of them when it loads. */
  readonly layout: string;
}

/** What a backend made of a partition. */
export interface BackendProgram {
  readonly method: string;
  readonly index: number;
  /** {@link ONNX_FORM}, or a name of the backend's own for what only it can load. */
  readonly form: string;
  readonly bytes: Uint8Array;
  readonly bindings: readonly BackendBinding[];
  /** Nodes that are left. */
  readonly nodes: number;
  /** What is to be known to load it. */
  readonly settings: Readonly<Record<string, string>>;
  /** Whether it had been compiled before. */
  readonly reused: boolean;
}

/** What a backend gives back for all partitions that it was given. */
export interface BackendResult {
  readonly programs: readonly BackendProgram[];
  /** What they were compiled with. */
  readonly record: Omit<CompileRecord, "backend">;
}

/** Keeps data that a backend makes on the way: part of what {@link BlobService} does. */
export interface BackendBlobs {
  put(
    key: string,
    data: Uint8Array,
    options?: {
      readonly alignment?: number | undefined;
      readonly tag?: string | undefined;
      readonly layout?: { readonly dtype: DType; readonly shape: readonly number[] } | undefined;
      readonly signal?: AbortSignal | undefined;
    },
  ): Promise<{ readonly digest: Digest }>;
}

/** What a backend may use. */
export interface BackendServices {
  readonly blobs: BackendBlobs;
  readonly signal?: AbortSignal | undefined;
}

/** A backend's own settings, by name. */
export type BackendOptions = Readonly<Record<string, string>>;

/** A weight that is bound: where its bytes are. */
export interface BoundWeight extends Binding {
  readonly input: string;
  readonly layout: string;
  /** Its bytes, whole. */
  read(): Promise<Uint8Array>;
}

/** A compiled program, ready to be loaded over a model's weights. */
export interface LoadableProgram {
  /** Absolute; locations of weights are relative to it. */
  readonly folder: string;
  readonly form: string;
  readonly bytes: Uint8Array;
  readonly signature: Signature;
  readonly settings: Readonly<Record<string, string>>;
  readonly weights: readonly BoundWeight[];
  /** What a backend put under a key when it compiled; `undefined` for a key that it did not. */
  data(key: string): Promise<Uint8Array | undefined>;
}

/** A partition that is loaded. */
export interface RunningPartition {
  run(
    inputs: Tensors,
    options?: {
      readonly signal?: AbortSignal | undefined;
      readonly outputs?: readonly string[] | undefined;
    },
  ): Promise<Tensors>;
  release(): Promise<void>;
}

/** The seam to an ahead-of-time compiler. */
export interface Backend {
  readonly id: string;
  /** What it compiles depends on this: programs of another version are not used. */
  readonly version: string;
  /** Whether it compiles a node; every one unless given. A node is asked for with all that its bodies hold. */
  takes?(node: OnnxNode): boolean;
  /**
   * Compiles what it was given of a model: the partitions of all methods at once, each answered once.
   * @throws TareError
   */
  compile(
    partitions: readonly Partition[],
    services: BackendServices,
    options: BackendOptions,
  ): Promise<BackendResult>;
  /** Loads a program of a form of its own; {@link ONNX_FORM} needs none. */
  load?(
    program: LoadableProgram,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<RunningPartition>;
}
