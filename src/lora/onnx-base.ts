import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import { LinkError } from "../errors.ts";
import type { OnnxGraph, OnnxModel, OnnxNode, OnnxTensor } from "../formats/onnx/graph.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import type { Method } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { moduleName } from "./adapter.ts";
import type { Site } from "./lora-base.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** A use of a weight by a node. */
interface Use {
  readonly node: OnnxNode;
  /** Whether the node reads it as [in, out]; `undefined` for operators without an orientation. */
  readonly transposed: boolean | undefined;
}

/**
 * Lists the weights of an ONNX method with the names that a LoRA may use. Exporters rename the matrices of linear layers
 * (`onnx::MatMul_1285`) and store most as [in, out]; the nodes that use them have the names of the modules.
 */
export async function onnxSites(
  store: BlobReader,
  model: StoredModel,
  method: Method,
): Promise<Omit<Site, "component">[]> {
  const file = model.config.files[method.file];
  if (!file)
    throw new LinkError("not-found", `Cannot read "${model.name}": method "${method.name}" has no file`);
  const view = new SparseBytes(
    `${model.name}/${file.path}`,
    await readBlob(store, file.skeleton),
    file.holes,
  );
  const graph = parseOnnx(view);
  const tensors = new Map(graph.tensors.map((tensor) => [tensor.name, tensor]));
  const consumers = consumersOf(graph);
  return method.weights.map((weight) => {
    const tensor = tensors.get(weight.name);
    const uses = tensor ? usesOf(tensor, consumers) : [];
    const modules = new Set([moduleName(weight.name), ...uses.flatMap(({ node }) => moduleOf(node))]);
    const ways = new Set(uses.map((use) => use.transposed).filter((way) => way !== undefined));
    return {
      method: method.name,
      weight,
      modules: [...modules],
      transposed: ways.size === 1 ? [...ways][0] : undefined,
      refusal: refusalOf(tensor, uses),
    };
  });
}

/** Indexes nodes by graph and by the name of their inputs. */
type Consumers = ReadonlyMap<OnnxGraph, ReadonlyMap<string, readonly OnnxNode[]>>;

function consumersOf(model: OnnxModel): Consumers {
  return new Map(
    model.graphs.map((graph) => {
      const byInput = new Map<string, OnnxNode[]>();
      for (const node of graph.nodes) {
        for (const input of new Set(node.inputs)) {
          const nodes = byInput.get(input);
          if (nodes) nodes.push(node);
          else byInput.set(input, [node]);
        }
      }
      return [graph, byInput];
    }),
  );
}

/** Finds the nodes that use a weight, or its Transpose. */
function usesOf(tensor: OnnxTensor, consumers: Consumers): Use[] {
  const nodes = tensor.graph && consumers.get(tensor.graph);
  const find = (name: string, flipped: boolean, depth: number): Use[] =>
    (nodes?.get(name) ?? []).flatMap((node) => {
      if (node.domain === "" && node.opType === "Transpose" && depth === 0) {
        return find(node.outputs[0] ?? "", !flipped, 1);
      }
      const way = wayOf(node, name);
      return [{ node, transposed: way === undefined ? undefined : way !== flipped }];
    });
  return find(tensor.local, false, 0);
}

/** Whether a node reads its matrix as [in, out]. */
function wayOf(node: OnnxNode, name: string): boolean | undefined {
  if (node.domain !== "") return undefined;
  const at = node.inputs.indexOf(name);
  if (node.opType === "MatMul") return at === 1;
  if (node.opType === "Gemm" && at === 1) return !node.transB;
  // A 1×1 kernel is [out, in, 1, 1]; larger kernels are refused by their shapes.
  if (node.opType === "Conv" && at === 1) return false;
  return node.opType === "Gather" && at === 0 ? false : undefined;
}

/** Module in the name of a node: `/model/layers.0/mlp/up_proj/MatMul` is in `model.layers.0.mlp.up_proj`. */
function moduleOf({ name }: OnnxNode): string[] {
  const parts = name.split("/").filter((part) => part !== "");
  return name.startsWith("/") && parts.length > 1 ? [parts.slice(0, -1).join(".")] : [];
}

function refusalOf(tensor: OnnxTensor | undefined, uses: readonly Use[]): string | undefined {
  if (!tensor || tensor.role === "sparse" || tensor.role === "attribute") return "it is not an initializer";
  if (uses.length === 0) return "no node of its graph is known to use it";
  const unclear = uses.find((use) => use.transposed === undefined);
  if (unclear) return `${unclear.node.opType} uses it`;
  const modules = new Set(uses.flatMap(({ node }) => moduleOf(node)));
  if (uses.length > 1 && modules.size !== 1) return `${uses.length} nodes share it`;
  return undefined;
}
