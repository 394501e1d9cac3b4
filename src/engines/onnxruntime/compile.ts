import { createHash } from "node:crypto";
import { EngineError } from "../../errors.ts";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import type { OnnxModel } from "../../formats/onnx/graph.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { boundTensors, writeThin, type BindTensor } from "../../formats/onnx/thin.ts";
import { bindWeightless, whyNotWeightless, writeWeightless } from "../../formats/onnx/weightless.ts";
import type { CompileCache } from "../engine.ts";
import type { CreateSettings } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";

/** Version of what is made of a program before the engine sees it: part of every key. */
const RECIPE = 1;

/** An ONNX program to load: its bytes with gaps for the weights, parsed, and what they are bound to. */
export interface OrtProgram {
  readonly view: SparseBytes;
  readonly graph: OnnxModel;
  readonly bind: BindTensor;
}

/** A program ready to load, bound to one model's weights. */
export interface CompiledProgram {
  readonly bytes: Uint8Array;
  readonly graph: OnnxModel;
  /** What is left to do for the engine at each load. */
  readonly level: CreateSettings["level"];
  /** Why the engine optimizes with the weights at each load, where it must. */
  readonly whole: string | undefined;
  /** Whether the cache had it. */
  readonly cached: boolean;
}

/** What the compiled program depends on, besides the program. */
export interface CompileTarget {
  /** Of the engine. */
  readonly version: string;
  readonly level: CreateSettings["level"];
}

/**
 * Optimizes a program without its weights, once for its whole family, and binds it to a model's weights.
 * A program whose weights cannot be taken out is left to the engine to optimize at each load.
 */
export async function compileProgram(
  program: OrtProgram,
  target: CompileTarget,
  thread: EngineThread,
  cache: CompileCache | undefined,
  signal?: AbortSignal,
): Promise<CompiledProgram> {
  const { view, graph, bind } = program;
  const whole = whyNotWeightless(graph);
  if (whole !== undefined) return wholeProgram(program, target, whole);
  const weightless = writeWeightless(view, graph, bind);
  const key = cacheKey(weightless.bytes, target);
  let optimized = await cache?.get(key);
  const cached = optimized !== undefined;
  if (!optimized) {
    const settings = { level: target.level, prepack: false, threads: 1, spinning: false, folder: undefined };
    try {
      optimized = await thread.ask({ op: "compile", model: weightless.bytes, settings }, signal);
    } catch (error) {
      // Some kernels want a constant where a weight was: the engine then gets the whole model, or says what is wrong.
      if (error instanceof EngineError && error.code === "engine")
        return wholeProgram(program, target, error.message);
      throw error;
    }
    await cache?.put(key, optimized);
  }
  const tensors = new Map(boundTensors(graph).weights.map((tensor) => [tensor.name, tensor]));
  const bytes = bindWeightless(optimized, weightless.inputs, bind, tensors);
  return { bytes, graph: parsed(bytes), level: "disabled", whole: undefined, cached };
}

function wholeProgram(
  { view, graph, bind }: OrtProgram,
  target: CompileTarget,
  whole: string,
): CompiledProgram {
  return { bytes: writeThin(view, graph, bind), graph, level: target.level, whole, cached: false };
}

function cacheKey(bytes: Uint8Array, { version, level }: CompileTarget): string {
  const program = createHash("sha256").update(bytes).digest("hex");
  // An optimizer may choose by instruction set; a store on a shared disk serves several kinds of machine.
  return ["onnxruntime", version, process.platform, process.arch, level, RECIPE, program].join("-");
}

function parsed(bytes: Uint8Array): OnnxModel {
  return parseOnnx(new SparseBytes("compiled program", bytes));
}
