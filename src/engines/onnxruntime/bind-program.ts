import type { TensorBinding } from "../../formats/onnx/encode.ts";
import { writeThin } from "../../formats/onnx/thin.ts";
import { bindTemplate } from "../../formats/onnx/weightless.ts";
import type { LinkedOnnx } from "../../link/linked-program.ts";
import type { FoldedFile } from "../../model/folded-weight.ts";
import type { Binding } from "../../model/link-plan.ts";
import type { PrepackedFile } from "../../model/prepacked-weight.ts";
import type { Signature } from "../../tensor/signature.ts";
import { matchWeights, weightTable } from "../../weights/match-weights.ts";
import type { Artifact, WantedWeight } from "./artifact.ts";
import type { OrtCompiled } from "./compiler.ts";
import type { CreateSettings } from "./protocol.ts";

/** A program that is bound to its weights, and that the engine opens. */
export interface BoundModel {
  readonly model: Uint8Array;
  readonly signature: Signature;
  /** Optimization level of the load: "disabled" for a compiled program. */
  readonly level: CreateSettings["level"];
  /** The operator that makes prepacking necessary. */
  readonly prepackingOperator: string | undefined;
  /** Names of the weights whose prepacked copies it maps. */
  readonly prepackedWeights: readonly string[];
  /** Names of the weights that it does not map, because it maps constants folded from them. */
  readonly foldedWeights: readonly string[];
  readonly weightlessBlocker: string | undefined;
  /** Whether the compilation came from the cache. */
  readonly cached: boolean;
  /** Inputs of the program, by the names of their weights. */
  readonly inputs: ReadonlyMap<string, string>;
}

/** Cached files that a program is bound to. */
export interface CachedFiles {
  /** Files of prepacked copies, by initializer of the compiled program. */
  readonly prepacked: ReadonlyMap<string, PrepackedFile> | undefined;
  /** Files of all folded constants, by initializer of the folded program. If `undefined`, their nodes run at each call. */
  readonly folded: ReadonlyMap<string, FoldedFile> | undefined;
}

/** A weight of a compiled program, and its storage. */
interface BoundInput extends Pick<WantedWeight, "input" | "dtype" | "shape"> {
  /** `undefined` for a weight in memory, which stays an input. */
  readonly binding: TensorBinding | undefined;
}

/**
 * Binds a compiled program to a model's weights.
 * @param level optimization level for a program that could not be compiled without its weights
 * @throws WeightMismatchError with every weight that does not match
 */
export async function bindProgram(
  { artifact, cached }: OrtCompiled,
  program: Pick<LinkedOnnx, "plan" | "inMemory" | "open">,
  files: CachedFiles,
  level: CreateSettings["level"],
): Promise<BoundModel> {
  const { signature, prepackingOperator, weightlessBlocker, weights } = artifact;
  const dropped = new Set(files.folded && artifact.folded?.dropped);
  const namesOf = (has: (input: string) => boolean): string[] =>
    weights.filter(({ input }) => has(input)).map(({ name }) => name);
  return {
    model: await writeModel(artifact, program, files),
    signature,
    level: artifact.template ? "disabled" : level,
    prepackingOperator,
    prepackedWeights: namesOf((input) => files.prepacked?.has(input) ?? false),
    foldedWeights: namesOf((input) => dropped.has(input)),
    weightlessBlocker,
    cached,
    inputs: new Map(weights.map(({ name, input }) => [name, input])),
  };
}

async function writeModel(
  artifact: Artifact,
  program: Pick<LinkedOnnx, "plan" | "inMemory" | "open">,
  { prepacked, folded }: CachedFiles,
): Promise<Uint8Array> {
  if (!artifact.template) {
    const { view, graph, bind, bound } = await program.open();
    return writeThin(view, graph, bind, bound);
  }
  const { plan } = program;
  matchWeights(artifact.weights, weightTable(plan.model, plan.weights), {
    program: `${plan.model}/${plan.method}, compiled`,
  });
  const table = new Map(plan.weights.map((weight) => [weight.name, weight]));
  const inputs = artifact.weights.map(({ input, name, dtype, shape }): BoundInput => {
    const weight = table.get(name) as Binding;
    const binding = program.inMemory?.has(weight.name) ? undefined : bindingOf(weight, prepacked?.get(input));
    return { input, dtype, shape, binding };
  });
  if (!artifact.folded || !folded) return bindTemplate(artifact.template, inputs);
  const { template, foldings } = artifact.folded;
  const dropped = new Set(artifact.folded.dropped);
  const constants = foldings.map(({ input, dtype, shape }): BoundInput => {
    const file = folded.get(input);
    if (!file) throw new TypeError(`"${input}" was not folded`);
    return { input, dtype, shape, binding: { kind: "file", ...file, offset: 0 } };
  });
  return bindTemplate(template, [...inputs.filter(({ input }) => !dropped.has(input)), ...constants]);
}

function bindingOf({ location, offset, length }: Binding, file: PrepackedFile | undefined): TensorBinding {
  if (!file) return { kind: "file", location, offset, length };
  return { kind: "file", location: file.location, offset: 0, length, prepacked: file.entries };
}
