import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import { LinkError } from "../errors.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { type BoundTensors, boundTensors, writeThin } from "../formats/onnx/thin.ts";
import type { TensorBinding } from "../formats/onnx/encode.ts";
import type { Method } from "../model/config.ts";
import type { LinkPlan } from "../model/link-plan.ts";
import { locationOf } from "../model/location-of.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { unknownWeight } from "../model/unknown-weight.ts";
import { readBlob } from "../store/read-blob.ts";
import type { BlobReader } from "../store/store.ts";
import { matchWeights, weightTable } from "../weights/match-weights.ts";
import type { OnnxProgram } from "./linked-program.ts";

/**
 * Opens the program of a method and binds it to a plan. The plan must have exactly the tensors that the program leaves
 * open, with the same dtypes and shapes.
 * @throws WeightMismatchError with both sides of every tensor that differs; LinkError
 */
export async function openOnnxProgram(
  store: BlobReader,
  model: StoredModel,
  method: Method,
  plan: LinkPlan,
): Promise<OnnxProgram> {
  const file = model.config.files[method.file];
  if (!file)
    throw new LinkError("not-found", `Cannot link "${model.name}": method "${method.name}" has no file`);
  const view = new SparseBytes(
    `${model.name}/${file.path}`,
    await readBlob(store, file.skeleton),
    file.holes,
  );
  if (view.size !== file.size) {
    throw new LinkError(
      "mismatch",
      `Cannot link "${view.name}": it has ${view.size} bytes, and its table records ${file.size}`,
      {
        path: view.name,
      },
    );
  }
  const graph = parseOnnx(view);
  const bindings = new Map<string, TensorBinding>();
  for (const { name, location, offset, length } of plan.weights) {
    bindings.set(name, { kind: "file", location, offset, length });
  }
  for (const constant of plan.constants) {
    const { blob, offset, length } = locationOf(model, constant.digest, {
      doing: `link "${plan.model}"`,
      weight: constant.name,
    });
    const bytes = (await readBlob(store, blob)).subarray(offset, offset + length);
    bindings.set(constant.name, { kind: "inline", bytes });
  }
  const bound = boundTensors(graph);
  checkPlan(plan, view.name, bound);
  return { view, graph, bind: (name) => bindings.get(name) ?? unknownWeight(plan.model, name), bound };
}

/** Writes the program as an ONNX file whose external data are the plan's files. */
export function linkOnnx({ view, graph, bind, bound }: OnnxProgram): Uint8Array {
  return writeThin(view, graph, bind, bound);
}

/** Checks that the tensors of the program and the table of the plan match. */
function checkPlan(plan: LinkPlan, program: string, { weights, constants }: BoundTensors): void {
  const expected = [...weights, ...constants].flatMap(({ name, dtype, shape }) =>
    dtype === "string" ? [] : [{ name, dtype, shape }],
  );
  matchWeights(expected, weightTable(plan.model, [...plan.weights, ...plan.constants]), { program });
}
