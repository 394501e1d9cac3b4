import type { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import type { OnnxModel } from "../formats/onnx/graph.ts";
import type { BindTensor, BoundTensors } from "../formats/onnx/thin.ts";
import type { Binding, LinkPlan } from "../model/link-plan.ts";
import type { Signature } from "../tensor/signature.ts";
import type { WeightSource } from "../weights/weight-source.ts";

/** A program joined with its weights: what an engine loads. */
export interface LinkedProgram {
  /** Of the program, such as "onnx". */
  readonly format: string;
  /** The model's name in errors. */
  readonly name: string;
  readonly method: string;
  /** Absolute; locations of bindings are relative to it. */
  readonly folder: string;
  /** Each weight, and the range of a file that it is bound to. */
  readonly bindings: readonly Binding[];
  /** The weights by the program's names, for engines that map no files. */
  readonly weights: WeightSource;
  /** Keeps files for the program only; the session that is loaded takes it over. */
  readonly lease?: AsyncDisposable | undefined;
}

/** An ONNX program: its bytes with gaps for the weights, parsed, and what its tensors are bound to. */
export interface OnnxProgram {
  readonly view: SparseBytes;
  readonly graph: OnnxModel;
  /** Binds weights to the plan's files, and constants to their bytes. */
  readonly bind: BindTensor;
  /** Which of its tensors are bound. */
  readonly bound: BoundTensors;
}

/** What a compiler did to a program ahead of time. */
export interface CompiledProgram {
  /** Of the program as its exporter wrote it: a compiled one may list more. */
  readonly signature: Signature;
  /** How far an engine still optimizes it. */
  readonly level: string | undefined;
  /** Why it was not compiled without its weights; `undefined` if it was. */
  readonly weightlessBlocker: string | undefined;
}

/** An ONNX program, linked. */
export interface LinkedOnnx extends LinkedProgram {
  readonly format: "onnx";
  /** What the program depends on, by digest, and its bindings. */
  readonly plan: LinkPlan;
  /** Names of the weights that the session holds in memory instead of mapping them; none unless given. */
  readonly inMemory?: ReadonlySet<string> | undefined;
  /** Given for a program that was compiled ahead of time: the engine opens it as it is. */
  readonly compiled?: CompiledProgram | undefined;
  /** Reads and parses the program: an engine that compiled it before does not need that. */
  open(): Promise<OnnxProgram>;
}

/** A LoRA adapter as a file, laid over a model while it runs. */
export interface LinkedAdapter {
  /** Of its GGUF file. */
  readonly path: string;
  /** How much of it: 1 as it was trained. */
  readonly scale: number;
}

/** A GGUF model, linked: files that llama.cpp opens. */
export interface LinkedGguf extends LinkedProgram {
  readonly format: "gguf";
  /** Of the file, or of the first shard of a view. */
  readonly path: string;
  readonly adapters: readonly LinkedAdapter[];
}
