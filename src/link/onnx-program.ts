import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import { LinkError } from "../errors.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { type BoundTensors, boundTensors, writeThin } from "../formats/onnx/thin.ts";
import type { TensorBinding } from "../formats/onnx/encode.ts";
import type { Method } from "../model/config.ts";
import type { LinkPlan } from "../model/link-plan.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { BlobStore } from "../store/blob-store.ts";
import type { OnnxProgram } from "./linked-program.ts";

/**
 * Opens a method's program and joins it with a plan, strictly: every tensor that the program leaves open is in the
 * plan with the same dtype and shape, and the plan has no other.
 * @throws LinkError `missing-weight`, `unused-weight`, `mismatch`, naming the weight and both sides
 */
export async function openOnnxProgram(
  store: BlobStore,
  model: StoredModel,
  method: Method,
  plan: LinkPlan,
): Promise<OnnxProgram> {
  const file = model.config.files[method.file];
  if (!file)
    throw new LinkError("not-found", `Cannot link "${model.name}": method "${method.name}" has no file`);
  const view = new SparseBytes(`${model.name}/${file.path}`, await store.readBlob(file.rest), file.holes);
  if (view.size !== file.size) {
    throw new LinkError(
      "mismatch",
      `Cannot link "${view.name}": it has ${view.size} bytes, its table says ${file.size}`,
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
    const { blob, offset, length } = model.locations.get(constant.digest) ?? missing(plan, constant.name);
    const bytes = (await store.readBlob(blob)).subarray(offset, offset + length);
    bindings.set(constant.name, { kind: "inline", bytes });
  }
  const bound = boundTensors(graph);
  checkStrictly(plan, bound);
  return { view, graph, bind: (name) => bindings.get(name) ?? missing(plan, name), bound };
}

/** Writes the thin model that any ONNX runtime opens beside the plan's files. */
export function linkOnnx({ view, graph, bind, bound }: OnnxProgram): Uint8Array {
  return writeThin(view, graph, bind, bound);
}

function checkStrictly(plan: LinkPlan, { weights, constants }: BoundTensors): void {
  const table = new Map([...plan.weights, ...plan.constants].map((binding) => [binding.name, binding]));
  for (const tensor of [...weights, ...constants]) {
    const binding = table.get(tensor.name) ?? missing(plan, tensor.name);
    table.delete(tensor.name);
    const wanted = `${tensor.dtype} [${tensor.shape.join(", ")}]`;
    const given = `${binding.dtype} [${binding.shape.join(", ")}]`;
    if (wanted !== given) {
      throw new LinkError(
        "mismatch",
        `Cannot bind weight "${tensor.name}" of "${plan.model}": the program wants ${wanted}, the table has ${given}`,
        { tensor: tensor.name, digest: binding.digest, offset: tensor.frame.start },
      );
    }
  }
  const [unused] = table.values();
  if (unused) {
    throw new LinkError(
      "unused-weight",
      `Cannot link "${plan.model}": its program does not use weight "${unused.name}"`,
      {
        tensor: unused.name,
        digest: unused.digest,
      },
    );
  }
}

function missing(plan: LinkPlan, name: string): never {
  throw new LinkError("missing-weight", `Cannot link "${plan.model}": its table lacks weight "${name}"`, {
    tensor: name,
  });
}
