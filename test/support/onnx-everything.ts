import {
  constant,
  floats,
  func,
  graph,
  ints,
  model,
  node,
  sparseTensor,
  tensor,
  value,
} from "./onnx-builder.ts";

/**
 * A small model with one of everything; cut anywhere it lacks its graph, which stands last. One of its weights is in
 * "w.bin", of 9 bytes.
 */
export const EVERYTHING: Uint8Array = everything();

function everything(): Uint8Array {
  const w = tensor("w", "float32", [2], floats(1, 2));
  const typed = tensor("typed", "int32", [2, 2], { packed: [1, -2, 3, 400] });
  const branch = graph({
    initializers: [w],
    nodes: [constant("c", typed), node("Add", ["w", "c"], ["o"])],
  });
  const sparse = sparseTensor(
    tensor("sparse", "float32", [2], floats(1, 2)),
    tensor("", "int64", [2], ints(0, 3)),
    [4],
  );
  return model({
    opsets: { "": 17, d: 1 },
    functions: [func({ domain: "d", name: "F", inputs: ["a"], outputs: ["b"], nodes: [constant("b", w)] })],
    training: [{ algorithm: branch }],
    graph: graph({
      initializers: [
        w,
        typed,
        tensor("external", "float16", [2, 2], { external: { location: "w.bin", offset: 1, length: 8 } }),
        tensor("names", "string", [2], { strings: ["a", ""] }),
        tensor("loose", "int64", [2], { unpacked: [1, 2] }),
        tensor("dims", "uint8", [2, 3], { raw: new Uint8Array(6) }, { packedDims: true }),
      ],
      sparse: [sparse],
      inputs: [value("x", "float32", ["batch", 2]), value("any", "float32")],
      outputs: [value("y", "float32", [])],
      nodes: [
        constant("k", tensor("", "float64", [2], { packed: [1, 2] })),
        node("If", ["q"], ["o"], {
          then_branch: { graph: branch },
          else_branch: { graph: branch },
          note: { string: "s" },
        }),
        node("Constant", [], ["s"], { sparse_value: { sparse } }),
        node("d::F", ["x"], ["y"], { alpha: { float: 1 }, axes: { ints: [1, -1] } }),
      ],
    }),
  });
}
