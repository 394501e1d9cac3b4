import { join } from "node:path";
import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import type { Binding } from "../model/link-plan.ts";
import type { LinkedOnnx, OnnxProgram } from "../link/linked-program.ts";
import { openFileSource } from "../node/file-source.ts";
import type { Digest } from "../tensor/digest.ts";
import { matchWeights, weightTable } from "../weights/match-weights.ts";
import { rangeWeights } from "../weights/range.ts";
import type { WeightSource } from "../weights/weight-source.ts";
import type { BoundWeight, LoadableProgram } from "./backends/backend.ts";

/** Setting of a compiled program, in its record: why its backend could not compile it without weights. */
export const WEIGHTLESS_BLOCKER = "whole";

/**
 * Links a compiled partition to the weights of its record. Ignores the locations of weights in the program.
 * @param name name of the partition in errors
 * @param digest digest of the program
 */
export function linkPartition(name: string, digest: Digest, program: LoadableProgram): LinkedOnnx {
  const { folder, settings, signature } = program;
  const bindings = program.weights.map((weight): Binding => ({ ...weight, name: weight.input }));
  return {
    format: "onnx",
    name,
    method: name,
    folder,
    bindings,
    get weights() {
      return folderWeights(name, folder, bindings);
    },
    plan: { model: name, method: name, program: digest, weights: bindings, constants: [] },
    compiled: { signature, level: settings.level, weightlessBlocker: settings[WEIGHTLESS_BLOCKER] },
    open: async () => openPartition(name, program),
  };
}

/**
 * Checks that the weights of the program and of its record match.
 * @throws WeightMismatchError with every weight that does not match
 */
function openPartition(name: string, { bytes, weights }: LoadableProgram): OnnxProgram {
  const view = new SparseBytes(name, bytes);
  const graph = parseOnnx(view);
  const tensors = graph.tensors.filter((tensor) => tensor.data.kind === "external");
  const expected = tensors.flatMap(({ name: input, dtype, shape }) =>
    dtype === "string" ? [] : [{ name: input, dtype, shape }],
  );
  const given = weights.map(({ input, dtype, shape }) => ({ name: input, dtype, shape }));
  matchWeights(expected, weightTable("its record", given), { program: name });
  const table = new Map(weights.map((weight) => [weight.input, weight]));
  return {
    view,
    graph,
    bound: { weights: tensors, constants: [] },
    bind(input) {
      const { location, offset, length } = table.get(input) as BoundWeight;
      return { kind: "file", location, offset, length };
    },
  };
}

function folderWeights(name: string, folder: string, bindings: readonly Binding[]): WeightSource {
  return rangeWeights(
    name,
    bindings.map(({ name: key, dtype, shape, digest, location, offset, length }) => {
      const path = join(folder, location);
      const source = () => openFileSource(path);
      return { key, layout: { dtype, shape, digest }, path, offset, length, source };
    }),
  );
}
