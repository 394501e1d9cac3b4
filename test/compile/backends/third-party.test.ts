import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ElementwiseBackend } from "../../../examples/elementwise-backend.ts";
import { openCompiled } from "../../../src/compile/compiled-folder.ts";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import type { Tensor, Tensors } from "../../../src/tensor/tensor.ts";
import { constant, floats, graph, model, node, tensor, value } from "../../support/onnx-builder.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { runtimeOf } from "../../support/runtime.ts";

/** Two layers: what is between their products is for the example. */
const bytes = model({
  graph: graph({
    nodes: [
      node("MatMul", ["x", "first"], ["a"]),
      node("Add", ["a", "bias"], ["b"]),
      constant("half", tensor("", "float32", [], floats(0.5))),
      node("Relu", ["b"], ["c"]),
      node("Mul", ["c", "half"], ["d"]),
      node("Sub", ["d", "c"], ["e"]),
      node("MatMul", ["e", "second"], ["f"]),
      node("Neg", ["f"], ["y"]),
    ],
    initializers: [
      tensor("first", "float32", [2, 3], floats(1, -2, 3.5, 0.25, 5, -6)),
      tensor("bias", "float32", [3], floats(0.1, 0.2, -0.3)),
      tensor("second", "float32", [3, 2], floats(1.5, 2, -3, 4, 0.7, 6)),
    ],
    inputs: [value("x", "float32", ["rows", 2])],
    outputs: [value("y", "float32", ["rows", 2])],
  }),
});
const x: Tensor = {
  dtype: "float32",
  shape: [2, 2],
  bytes: new Uint8Array(Float32Array.of(1, -2, 0.3, 4).buffer),
};

async function storeOf(): Promise<TareStore> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "m.onnx"), bytes);
  const store = await openStore({ path: join(folder, "store") });
  await store.add([join(folder, "m.onnx")]);
  return store;
}

function text({ y }: Tensors): string {
  return `[${y?.shape.join()}] ${Buffer.from((y as { bytes: Uint8Array }).bytes).toString("hex")}`;
}

describe("a backend of one's own", () => {
  test("gets what it takes, puts data, and runs beside ONNX Runtime, bit for bit", async () => {
    const store = await storeOf();
    const backends = [new ElementwiseBackend(), "onnxruntime"];
    const { model: compiled } = await runtimeOf(store).compile("m", { backends });
    const [method] = compiled.methods;
    expect(
      method?.partitions.map(({ backend, bindings, nodes }) => [backend, bindings.length, nodes]),
    ).toEqual([
      ["onnxruntime", 1, { before: 1, after: 1 }],
      ["elementwise", 1, { before: 5, after: 4 }],
      ["onnxruntime", 1, { before: 1, after: 1 }],
      ["elementwise", 0, { before: 1, after: 1 }],
    ]);
    expect(compiled.data).toMatchObject([{ key: "elementwise/m/1/half", size: 4, alignment: 4 }]);
    expect(compiled.records.map((record) => record.backend)).toEqual(["elementwise", "onnxruntime"]);
    await using whole = await runtimeOf(store).load("m", { level: "disabled" });
    const expected = text(await whole.run({ x }));
    for (const round of ["first", "second"]) {
      expect((await runtimeOf(store).compile("m", { backends })).cached, round).toBe(true);
      await using session = await runtimeOf(store).loadCompiled("m", { backends });
      expect(text(await session.run({ x }))).toBe(expected);
    }
  });

  test("loads its programs from a folder, which needs it to be there", async () => {
    const store = await storeOf();
    const backends = [new ElementwiseBackend(), "onnxruntime"];
    const path = join(await temporaryFolder(), "out");
    await runtimeOf(store).writeCompiled("m", path, { backends });
    await using whole = await runtimeOf(store).load("m", { level: "disabled" });
    await using folder = await openCompiled(path, { backends: [new ElementwiseBackend()], workers: 1 });
    await using session = await folder.load();
    expect(text(await session.run({ x }))).toBe(text(await whole.run({ x })));
    await expect(openCompiled(path)).rejects.toMatchObject({
      code: "no-engine",
      message: expect.stringContaining('it needs backend "elementwise", which is not available'),
    });
  });

  test("is not given what it does not take", async () => {
    const store = await storeOf();
    const compiling = runtimeOf(store).compile("m", {
      backends: [new ElementwiseBackend()],
      partition: [{ nodes: "MatMul", backend: "elementwise" }],
    });
    await expect(compiling).rejects.toMatchObject({
      code: "unsupported",
      message: 'Cannot compile method "m": backend "elementwise" does not support MatMul',
    });
  });

  test("is in the documentation, as it is", async () => {
    const root = new URL("../../../", import.meta.url);
    const [docs, example] = await Promise.all(
      ["docs/compile-backends.md", "examples/elementwise-backend.ts"].map((path) =>
        readFile(new URL(path, root), "utf8"),
      ),
    );
    expect(docs).toContain(`\`\`\`ts\n${example}\`\`\`\n`);
  });
});
