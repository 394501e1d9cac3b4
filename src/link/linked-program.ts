import type { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import type { OnnxModel } from "../formats/onnx/graph.ts";
import type { BindTensor, BoundTensors } from "../formats/onnx/thin.ts";
import type { Binding, LinkPlan } from "../model/link-plan.ts";
import type { Signature } from "../tensor/signature.ts";
import type { WeightSource } from "../weights/weight-source.ts";

/** A program that is linked to its weights, and that an engine can load. */
export interface LinkedProgram {
  /** Format of the program, such as "onnx". */
  readonly format: string;
  /** The model's name in errors. */
  readonly name: string;
  readonly method: string;
  /** Absolute path; locations of bindings are relative to it. */
  readonly folder: string;
  /** Each weight with its range of a file. */
  readonly bindings: readonly Binding[];
  /** The weights by the program's names, for engines that map no files. */
  readonly weights: WeightSource;
  /** Keeps temporary files of the program; the session that loads the program takes it over. */
  readonly lease?: AsyncDisposable | undefined;
}

/** A parsed ONNX program: its bytes with gaps for the weights, and the bindings of its tensors. */
export interface OnnxProgram {
  readonly view: SparseBytes;
  readonly graph: OnnxModel;
  /** Binds weights to the plan's files, and constants to their bytes. */
  readonly bind: BindTensor;
  /** The tensors that are bound. */
  readonly bound: BoundTensors;
}

/** The result of compiling a program ahead of time. */
export interface CompiledProgram {
  /** Signature of the original program: the compiled program may have more inputs. */
  readonly signature: Signature;
  /** Optimization level that the engine still applies at each load. */
  readonly level: string | undefined;
  /** Why it could not be compiled without its weights; `undefined` if it could. */
  readonly weightlessBlocker: string | undefined;
}

/** A linked ONNX program. */
export interface LinkedOnnx extends LinkedProgram {
  readonly format: "onnx";
  /** Digests of the program and its weights, and the bindings. */
  readonly plan: LinkPlan;
  /** Names of the weights that the session holds in memory instead of mapping them; none unless given. */
  readonly inMemory?: ReadonlySet<string> | undefined;
  /** Given for a program that was compiled ahead of time, which the engine opens without compiling it. */
  readonly compiled?: CompiledProgram | undefined;
  /** Reads and parses the program. An engine with a cached compilation does not need it. */
  open(): Promise<OnnxProgram>;
}

/** A file of a LoRA adapter that is applied to a model while it runs. */
export interface LinkedAdapter {
  /** Path of its GGUF file. */
  readonly path: string;
  /** Factor of the adapter: 1 is the trained strength. */
  readonly scale: number;
}

/** A linked GGUF model: files that llama.cpp opens. */
export interface LinkedGguf extends LinkedProgram {
  readonly format: "gguf";
  /** Path of the file, or of the first shard of a view. */
  readonly path: string;
  readonly adapters: readonly LinkedAdapter[];
}
