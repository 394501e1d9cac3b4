import { join } from "node:path";
import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import { LinkError } from "../errors.ts";
import type { OnnxModel, OnnxTensor } from "../formats/onnx/graph.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import type { Binding } from "../model/link-plan.ts";
import type { LinkedOnnx, OnnxProgram } from "../link/linked-program.ts";
import { type FileSource, openFileSource } from "../node/file-source.ts";
import type { Digest } from "../tensor/digest.ts";
import { rangeWeights } from "../weights/range.ts";
import type { WeightSource } from "../weights/weight-source.ts";
import type { BoundWeight, LoadableProgram } from "./backends/backend.ts";

/** The setting of a compiled program that says why its backend could not compile it without weights. */
export const WEIGHTLESS_BLOCKER = "whole";

/**
 * Links a compiled partition to the weights of its record. What the program says of their places does not count.
 * @param name of the partition in errors
 * @param digest of the program
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

/** @throws LinkError `missing-weight`, `mismatch`, `unused-weight` */
function openPartition(name: string, { bytes, weights }: LoadableProgram): OnnxProgram {
  const view = new SparseBytes(name, bytes);
  const graph = parseOnnx(view);
  const tensors = graph.tensors.filter((tensor) => tensor.data.kind === "external");
  const matched = matchTensors(name, tensors, weights);
  return {
    view,
    graph,
    bound: { weights: tensors, constants: [] },
    bind(input) {
      const { location, offset, length } = matched.get(input) as BoundWeight;
      return { kind: "file", location, offset, length };
    },
  };
}

/** Finds the weight of each tensor, strictly. */
function matchTensors(
  name: string,
  tensors: OnnxModel["tensors"],
  weights: readonly BoundWeight[],
): Map<string, BoundWeight> {
  const table = new Map(weights.map((weight) => [weight.input, weight]));
  const matched = new Map<string, BoundWeight>();
  for (const { name: input, dtype, shape } of tensors) {
    const weight = table.get(input);
    table.delete(input);
    if (!weight) {
      throw new LinkError("missing-weight", `Cannot bind ${name}: its record does not list "${input}"`, {
        tensor: input,
      });
    }
    const wanted = layoutText({ dtype, shape });
    const given = layoutText(weight);
    if (wanted !== given) {
      throw new LinkError(
        "mismatch",
        `Cannot bind "${input}" of ${name}: the program wants ${wanted}, its record has ${given}`,
        { tensor: weight.name, digest: weight.digest },
      );
    }
    matched.set(input, weight);
  }
  const [unused] = table.values();
  if (!unused) return matched;
  throw new LinkError("unused-weight", `Cannot bind ${name}: its program has no "${unused.input}"`, {
    tensor: unused.name,
    digest: unused.digest,
  });
}

function layoutText({ dtype, shape }: Pick<OnnxTensor, "dtype" | "shape">): string {
  return `${dtype} [${shape.join(", ")}]`;
}

function folderWeights(name: string, folder: string, bindings: readonly Binding[]): WeightSource {
  return rangeWeights(
    name,
    bindings.map(({ name: key, dtype, shape, digest, location, offset, length }) => {
      const path = join(folder, location);
      const open = async (): Promise<{ source: FileSource } & AsyncDisposable> => {
        const source = await openFileSource(path);
        return { source, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() };
      };
      return { key, layout: { dtype, shape, digest }, path, offset, length, open };
    }),
  );
}
