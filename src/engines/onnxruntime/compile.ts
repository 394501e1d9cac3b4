import { createHash } from "node:crypto";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { EngineError } from "../../errors.ts";
import type { TensorBinding } from "../../formats/onnx/encode.ts";
import type { OnnxModel, OnnxValue } from "../../formats/onnx/graph.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { type BindTensor, type BoundTensors, writeThin } from "../../formats/onnx/thin.ts";
import {
  bindTemplate,
  cutTemplate,
  whyNotWeightless,
  writeWeightless,
} from "../../formats/onnx/weightless.ts";
import type { Binding, LinkPlan } from "../../model/link-plan.ts";
import type { FoldedFile } from "../../model/folded-weight.ts";
import type { PrepackedFile } from "../../model/prepacked-weight.ts";
import { matchWeights, weightTable } from "../../weights/match-weights.ts";
import type { Port, Signature } from "../engine.ts";
import type { Artifact } from "./artifact.ts";
import { foldingsOf } from "./foldings.ts";
import { prepackingsOf } from "./packings.ts";
import {
  findMispackedNode,
  findPrepackingOperator,
  prepackedWeights,
  prepackedValues,
} from "./prepacking.ts";
import type { CreateSettings } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";

/** Version of what is made of a program before and after the engine sees it: part of every key. */
const RECIPE = 6;

/** An ONNX program: its bytes with gaps for the weights, parsed, and what they are bound to. */
export interface OrtProgram {
  readonly view: SparseBytes;
  readonly graph: OnnxModel;
  readonly bind: BindTensor;
  /** Which of its tensors are bound. */
  readonly bound: BoundTensors;
}

/** A program and a model's weights for it, as an engine is given them. */
export interface OrtSource {
  readonly plan: LinkPlan;
  /** Reads and parses the program: only where it was not compiled before. */
  open(): Promise<OrtProgram>;
}

/** What a compiled program depends on, besides the program. */
export interface CompileTarget {
  /** Of the engine. */
  readonly version: string;
  readonly level: CreateSettings["level"];
}

/** What a program is bound to instead of weights of the store. */
export interface BindFiles {
  /** By initializer of the compiled program: files that the engine takes packed bytes from. */
  readonly prepacked?: ReadonlyMap<string, PrepackedFile> | undefined;
  /** Names of weights that stay inputs: they are fed with each run. */
  readonly live?: ReadonlySet<string> | undefined;
  /** By initializer of the compiled program, all that it has derivations for; else it derives them at each call. */
  readonly folded?: ReadonlyMap<string, FoldedFile> | undefined;
}

/**
 * Binds a compiled program to a model's weights: what the engine loads.
 * @throws WeightMismatchError with every weight that does not fit
 */
export async function bindProgram(
  artifact: Artifact,
  source: OrtSource,
  { prepacked, live, folded }: BindFiles = {},
): Promise<Uint8Array> {
  if (!artifact.template) {
    const { view, graph, bind, bound } = await source.open();
    return writeThin(view, graph, bind, bound);
  }
  const { plan } = source;
  matchWeights(artifact.weights, weightTable(plan.model, plan.weights), {
    program: `${plan.model}/${plan.method}, compiled`,
  });
  const table = new Map(plan.weights.map((weight) => [weight.name, weight]));
  const weights = artifact.weights.map(({ input, name, dtype, shape }) => {
    const weight = table.get(name) as Binding;
    const binding = live?.has(name) ? undefined : bindingOf(weight, prepacked?.get(input));
    return { input, dtype, shape, binding };
  });
  if (!artifact.folded || !folded) return bindTemplate(artifact.template, weights);
  const { template, foldings } = artifact.folded;
  const dropped = new Set(artifact.folded.dropped);
  return bindTemplate(template, [
    ...weights.filter(({ input }) => !dropped.has(input)),
    ...foldings.map(({ input, dtype, shape }) => {
      const file = folded.get(input);
      if (!file) throw new TypeError(`"${input}" was not derived`);
      return { input, dtype, shape, binding: { kind: "file", ...file, offset: 0 } as const };
    }),
  ]);
}

function bindingOf({ location, offset, length }: Binding, packed: PrepackedFile | undefined): TensorBinding {
  if (!packed) return { kind: "file", location, offset, length };
  return { kind: "file", location: packed.location, offset: 0, length, prepacked: packed.entries };
}

/** Optimizes a program without its weights; what cannot be is left to the engine to optimize at each load. */
export async function compileProgram(
  program: OrtProgram,
  target: CompileTarget,
  thread: EngineThread,
): Promise<Artifact> {
  const { view, graph, bind, bound } = program;
  const signature = signatureOf(graph);
  const leave = (weightlessBlocker: string): Artifact => {
    const inputs = new Set(signature.inputs.map((port) => port.name));
    // Packing would be wrong, as it is in stock: without it, such a program runs slowly and right.
    const prepackingOperator = findMispackedNode(graph, (value) => !inputs.has(value))
      ? undefined
      : findPrepackingOperator(graph);
    const prepacked = prepackedWeights(graph, bound);
    return {
      signature,
      weights: [],
      prepackingOperator,
      prepacked,
      prepackings: [],
      template: undefined,
      weightlessBlocker,
      folded: undefined,
    };
  };
  const weightlessBlocker = whyNotWeightless(graph, bound);
  if (weightlessBlocker !== undefined) return leave(weightlessBlocker);
  const { bytes, inputs } = writeWeightless(view, graph, bind, bound);
  const settings = { level: target.level, prepack: false, threads: 1, spinning: false, folder: undefined };
  let optimized: Uint8Array;
  try {
    optimized = await thread.ask({ op: "compile", model: bytes, settings });
  } catch (error) {
    // Some kernels want a constant where a weight was: the engine then gets the whole model, or says what is wrong.
    if (error instanceof EngineError && error.code === "engine") return leave(error.message);
    throw error;
  }
  const tensors = new Map(bound.weights.map((tensor) => [tensor.name, tensor]));
  const weights = [...inputs].flatMap(([input, name]) => {
    const tensor = tensors.get(name);
    return tensor && tensor.dtype !== "string"
      ? [{ input, name, dtype: tensor.dtype, shape: tensor.shape }]
      : [];
  });
  const compiledView = new SparseBytes("compiled program", optimized);
  const compiled = parseOnnx(compiledView);
  const constants = new Set([...inputs.keys(), ...compiled.tensors.map((tensor) => tensor.local)]);
  const unpackable = findMispackedNode(compiled, (value) => constants.has(value));
  // The optimizer makes them constants where it sees the weights that they are computed from.
  if (unpackable) return leave(`the scales of ${unpackable.opType} are computed, and it needs constants`);
  const packed = prepackedValues(compiled);
  // Before IR version 4 the engine lists every constant as an input, and those it folded away still: only what the
  // program takes is an input.
  const fed = new Set(signature.inputs.map((port) => port.name));
  const unfed = new Set(compiled.graph.inputs.map((input) => input.name).filter((name) => !fed.has(name)));
  const prepackingOperator = findPrepackingOperator(compiled);
  return {
    signature,
    weights,
    prepackingOperator,
    prepacked: weights.filter((weight) => packed.has(weight.input)).map((weight) => weight.name),
    prepackings: prepackingsOf(compiledView, compiled, weights),
    template: cutTemplate(optimized, unfed),
    weightlessBlocker: undefined,
    // What is computed is not packed: as constants, such weights would be, for each session.
    folded:
      prepackingOperator === undefined
        ? await foldingsOf(compiledView, compiled, weights, unfed, thread)
        : undefined,
  };
}

/** What a program depends on: its own digest (which a cache may look for), those of its constants in other files. */
export function programKey({ program, constants }: LinkPlan): string {
  const hash = createHash("sha256");
  for (const { name, digest } of constants) hash.update(`${JSON.stringify(name)} ${digest}\n`);
  const hex = program.slice("sha256:".length);
  return constants.length === 0 ? hex : `${hex}-${hash.digest("hex").slice(0, 16)}`;
}

/** The key of a compiled program: the program, the engine, and the platform, since an optimizer may choose by that. */
export function compileKey(program: string, { version, level }: CompileTarget): string {
  return ["onnxruntime", version, process.platform, process.arch, level, RECIPE, program].join("-");
}

/** What a model takes and gives; initializers are no inputs. */
export function signatureOf(graph: OnnxModel): Signature {
  const bound = new Set(graph.tensors.filter((each) => each.graph === graph.graph).map((each) => each.local));
  const port = ({ name, dtype, shape }: OnnxValue): Port => ({ name, dtype, shape });
  return {
    inputs: graph.graph.inputs.filter((input) => !bound.has(input.name)).map(port),
    outputs: graph.graph.outputs.map(port),
  };
}
