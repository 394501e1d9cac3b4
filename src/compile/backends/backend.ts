import type { OnnxModel, OnnxNode } from "../../formats/onnx/graph.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { Binding } from "../../model/link-plan.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { Signature } from "../../tensor/signature.ts";
import type { Tensors } from "../../tensor/tensor.ts";
import type { CompileRecord } from "./compiled-model.ts";

/** Form of the programs that ONNX Runtime loads: ONNX files whose external data name the weights. */
export const ONNX_FORM = "onnx";

/** A weight that a partition's program leaves open. */
export interface PartitionWeight {
  /** Unique name of the tensor in the program of the partition. */
  readonly input: string;
  /** Name in the method's weight table. */
  readonly weight: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Consecutive nodes of a method, as a program that one backend compiles. It contains no values of weights. */
export interface Partition {
  readonly method: string;
  /** Index in the method's partitions, in the order in which they run. */
  readonly index: number;
  /** Identifies the program: a compilation that is cached under this key is valid for every model of the family. */
  readonly key: string;
  /** ONNX bytes. Each weight is external data with the location `weight:NAME`. */
  readonly program: Uint8Array;
  /** The parsed program, with offsets in {@link Partition.program}. */
  readonly graph: OnnxModel;
  readonly signature: Signature;
  readonly weights: readonly PartitionWeight[];
}

/** An input of a compiled program that is bound to a weight. */
export interface BackendBinding {
  /** Name of the input in the program. */
  readonly input: string;
  /** Name in the method's weight table. */
  readonly weight: string;
  /** `row-major` for the stored bytes, or a layout that the backend makes of them at the load. */
  readonly layout: string;
}

/** The result of a backend for one partition. */
export interface BackendProgram {
  readonly method: string;
  readonly index: number;
  /** {@link ONNX_FORM}, or the backend's name for a form that only it can load. */
  readonly form: string;
  readonly bytes: Uint8Array;
  readonly bindings: readonly BackendBinding[];
  /** Number of nodes of the compiled program. */
  readonly nodes: number;
  /** Settings that the load of the program needs. */
  readonly settings: Readonly<Record<string, string>>;
  /** Whether it came from the backend's cache. */
  readonly reused: boolean;
}

/** The results of a backend for all its partitions. */
export interface BackendResult {
  readonly programs: readonly BackendProgram[];
  /** Engine, version, machine and settings of the compilation. */
  readonly record: Omit<CompileRecord, "backend">;
}

/** Keeps data that a backend makes during compilation; implemented by {@link BlobService}. */
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

/** Tools that a backend may use. */
export interface BackendServices {
  readonly blobs: BackendBlobs;
  readonly signal?: AbortSignal | undefined;
}

/** Settings of a backend, by name. */
export type BackendOptions = Readonly<Record<string, string>>;

/** A bound weight, with the location of its bytes. */
export interface BoundWeight extends Binding {
  readonly input: string;
  readonly layout: string;
  /** Reads all its bytes. */
  read(): Promise<Uint8Array>;
}

/** A compiled program with the locations of a model's weights. */
export interface LoadableProgram {
  /** Absolute path; locations of weights are relative to it. */
  readonly folder: string;
  readonly form: string;
  readonly bytes: Uint8Array;
  readonly signature: Signature;
  readonly settings: Readonly<Record<string, string>>;
  readonly weights: readonly BoundWeight[];
  /** Reads data that the backend put under a key during compilation; `undefined` for an unknown key. */
  data(key: string): Promise<Uint8Array | undefined>;
}

/** A loaded partition. */
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

/** Interface of an ahead-of-time compiler. */
export interface Backend {
  readonly id: string;
  /** Version of the compiler: programs that another version compiled are not used. */
  readonly version: string;
  /** Whether it compiles a node, with the nodes of its bodies; all nodes unless given. */
  takes?(node: OnnxNode): boolean;
  /**
   * Compiles the partitions of all methods of a model, and returns one result for each.
   * @throws TareError
   */
  compile(
    partitions: readonly Partition[],
    services: BackendServices,
    options: BackendOptions,
  ): Promise<BackendResult>;
  /** Loads a program of the backend's form; not needed for {@link ONNX_FORM}. */
  load?(
    program: LoadableProgram,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<RunningPartition>;
}
