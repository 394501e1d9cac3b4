import { createHash } from "node:crypto";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { EngineError, LinkError } from "../../errors.ts";
import type { OnnxModel, OnnxValue } from "../../formats/onnx/graph.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { type BindTensor, boundTensors, writeThin } from "../../formats/onnx/thin.ts";
import {
  bindTemplate,
  cutTemplate,
  whyNotWeightless,
  writeWeightless,
} from "../../formats/onnx/weightless.ts";
import type { LinkPlan } from "../../model/link-plan.ts";
import type { CompileCache, Port, Signature } from "../engine.ts";
import { type Artifact, decodeArtifact, encodeArtifact } from "./artifact.ts";
import { needsPrepacking } from "./prepacking.ts";
import type { CreateSettings } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";

/** Version of what is made of a program before and after the engine sees it: part of every key. */
const RECIPE = 2;

/** An ONNX program: its bytes with gaps for the weights, parsed, and what they are bound to. */
export interface OrtProgram {
  readonly view: SparseBytes;
  readonly graph: OnnxModel;
  readonly bind: BindTensor;
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

/** Optimizes a program without its weights, once for its whole family. */
export async function compileProgram(
  source: OrtSource,
  target: CompileTarget,
  thread: EngineThread,
  cache: CompileCache | undefined,
): Promise<{ readonly artifact: Artifact; readonly cached: boolean }> {
  const key = cacheKey(source.plan, target);
  const known = await cache?.get(key);
  if (known) return { artifact: decodeArtifact(known), cached: true };
  const artifact = await compile(await source.open(), target, thread);
  await cache?.put(key, encodeArtifact(artifact));
  return { artifact, cached: false };
}

/**
 * Binds a compiled program to a model's weights: what the engine loads.
 * @throws LinkError `missing-weight`, `mismatch`
 */
export async function bindProgram(artifact: Artifact, source: OrtSource): Promise<Uint8Array> {
  if (!artifact.template) {
    const { view, graph, bind } = await source.open();
    return writeThin(view, graph, bind);
  }
  const { plan } = source;
  const table = new Map(plan.weights.map((weight) => [weight.name, weight]));
  const weights = artifact.weights.map(({ input, name, dtype, shape }) => {
    const weight = table.get(name);
    if (!weight) {
      throw new LinkError("missing-weight", `Cannot link "${plan.model}": its table lacks weight "${name}"`, {
        tensor: name,
      });
    }
    table.delete(name);
    if (weight.dtype !== dtype || weight.shape.join() !== shape.join()) {
      throw new LinkError(
        "mismatch",
        `Cannot bind weight "${name}" of "${plan.model}": the program wants ${dtype} [${shape.join(", ")}], the table has ${weight.dtype} [${weight.shape.join(", ")}]`,
        { tensor: name, digest: weight.digest },
      );
    }
    const { location, offset, length } = weight;
    return { input, dtype, shape, binding: { kind: "file", location, offset, length } as const };
  });
  const [unused] = table.keys();
  if (unused !== undefined) {
    throw new LinkError(
      "unused-weight",
      `Cannot link "${plan.model}": its program does not use weight "${unused}"`,
      {
        tensor: unused,
      },
    );
  }
  return bindTemplate(artifact.template, weights);
}

async function compile(program: OrtProgram, target: CompileTarget, thread: EngineThread): Promise<Artifact> {
  const { view, graph, bind } = program;
  const signature = signatureOf(graph);
  const leave = (whole: string): Artifact => {
    return { signature, weights: [], prepacking: needsPrepacking(graph), template: undefined, whole };
  };
  const whole = whyNotWeightless(graph);
  if (whole !== undefined) return leave(whole);
  const { bytes, inputs } = writeWeightless(view, graph, bind);
  const settings = { level: target.level, prepack: false, threads: 1, spinning: false, folder: undefined };
  let optimized: Uint8Array;
  try {
    optimized = await thread.ask({ op: "compile", model: bytes, settings });
  } catch (error) {
    // Some kernels want a constant where a weight was: the engine then gets the whole model, or says what is wrong.
    if (error instanceof EngineError && error.code === "engine") return leave(error.message);
    throw error;
  }
  const tensors = new Map(boundTensors(graph).weights.map((tensor) => [tensor.name, tensor]));
  const weights = [...inputs].flatMap(([input, name]) => {
    const tensor = tensors.get(name);
    return tensor && tensor.dtype !== "string"
      ? [{ input, name, dtype: tensor.dtype, shape: tensor.shape }]
      : [];
  });
  const prepacking = needsPrepacking(parseOnnx(new SparseBytes("compiled program", optimized)));
  // Old programs list their initializers as inputs; those that the engine folded away are inputs no more.
  const fed = new Set(signature.inputs.map((port) => port.name));
  const initialized = graph.graph.inputs.map((input) => input.name).filter((name) => !fed.has(name));
  return {
    signature,
    weights,
    prepacking,
    template: cutTemplate(optimized, new Set([...inputs.keys(), ...initialized])),
    whole: undefined,
  };
}

/** A program is its file's rest and its constants in other files; the optimizer may choose by instruction set. */
function cacheKey(plan: LinkPlan, { version, level }: CompileTarget): string {
  const hash = createHash("sha256").update(plan.program);
  for (const { name, digest } of plan.constants) hash.update(`\n${JSON.stringify(name)} ${digest}`);
  return ["onnxruntime", version, process.platform, process.arch, level, RECIPE, hash.digest("hex")].join(
    "-",
  );
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
