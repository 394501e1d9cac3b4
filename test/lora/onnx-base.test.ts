import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import type { NumberTensor } from "../../src/tensor/tensor.ts";
import { float32Bytes, type SmallTensor, writePeftLora } from "../support/lora-models.ts";
import {
  type Data,
  floats,
  graph,
  type Message,
  model,
  node,
  tensor,
  value,
} from "../support/onnx-builder.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";
import { merge } from "../../src/operations/merge.ts";

/** A weight of zeros: what a layer makes of its input is then what the LoRA makes of it. */
const ZEROS = [tensor("w", "float32", [2, 2], floats(0, 0, 0, 0))];
const NAME = "/m/fc/MatMul";

/** A LoRA of B = [1; 2] and A = [10, 100] for `fc`, so that its product tells rows from columns. */
const LINEAR: Readonly<Record<string, SmallTensor>> = {
  "base_model.model.fc.lora_A.weight": { shape: [1, 2], values: [10, 100] },
  "base_model.model.fc.lora_B.weight": { shape: [2, 1], values: [1, 2] },
};
/** What a linear layer of that product makes of the unit vectors: x · (B·A)ᵀ. */
const RESULT = [10, 20, 100, 200];

async function merged(
  nodes: readonly Message[],
  initializers: readonly Message[] = ZEROS,
  lora: Readonly<Record<string, SmallTensor>> = LINEAR,
  map?: Readonly<Record<string, string>>,
): Promise<TareStore> {
  const folder = await temporaryFolder();
  const store = await openStore({ path: join(folder, "store") });
  const inputs = [value("x", "float32", [2, 2]), value("ids", "int64", [2])];
  const parts = { nodes, initializers, inputs, outputs: [value("y", "float32", [2, 2])] };
  await writeFile(join(folder, "base.onnx"), model({ graph: graph(parts) }));
  await store.add([join(folder, "base.onnx")]);
  await store.add([await writePeftLora(join(folder, "lora"), lora, { r: 1, lora_alpha: 1 })]);
  await merge(store, "base", [{ model: "lora" }], { as: "merged", map });
  return store;
}

/** Runs the merged model in ONNX Runtime, on the unit vectors. */
async function run(store: TareStore): Promise<number[]> {
  await using session = await runtimeOf(store).load("merged");
  const x = new Uint8Array(Float32Array.of(1, 0, 0, 1).buffer);
  const ids = new Uint8Array(BigInt64Array.of(0n, 1n).buffer);
  const { y } = await session.run({
    x: { dtype: "float32", shape: [2, 2], bytes: x },
    ids: { dtype: "int64", shape: [2], bytes: ids },
  });
  return [...new Float32Array(new Uint8Array((y as { bytes: Uint8Array }).bytes).buffer)];
}

describe("a LoRA for an ONNX model", () => {
  test.each<[string, readonly Message[]]>([
    ["a MatMul", [node("MatMul", ["x", "w"], ["y"], {}, NAME)]],
    ["a Gemm", [node("Gemm", ["x", "w"], ["y"], {}, "/fc/Gemm")]],
    [
      "a Gemm that transposes it",
      [node("Gemm", ["x", "w"], ["y"], { alpha: { float: 1 }, transB: { int: 1 } }, "/m/fc/Gemm")],
    ],
    [
      "a Transpose before a MatMul",
      [
        node("Transpose", ["w"], ["t"], { perm: { ints: [1, 0] } }, "/m/Transpose"),
        node("MatMul", ["x", "t"], ["y"], {}, NAME),
      ],
    ],
    [
      "a MatMul that has it first",
      [
        node("Transpose", ["x"], ["xt"], { perm: { ints: [1, 0] } }),
        node("MatMul", ["w", "xt"], ["yt"], {}, NAME),
        node("Transpose", ["yt"], ["y"], { perm: { ints: [1, 0] } }),
      ],
    ],
  ])("is merged as %s takes its weight, though it is square", async (_, nodes) => {
    expect(await run(await merged(nodes))).toEqual(RESULT);
  });

  test("finds a weight by its own name too, and by a mapping", async () => {
    const nodes = [node("MatMul", ["x", "fc.weight"], ["y"])];
    const initializers = [tensor("fc.weight", "float32", [2, 2], floats(0, 0, 0, 0))];
    expect(await run(await merged(nodes, initializers))).toEqual(RESULT);
    const unnamed = [node("MatMul", ["x", "w"], ["y"])];
    expect(await run(await merged(unnamed, ZEROS, LINEAR, { fc: "w" }))).toEqual(RESULT);
  });

  test("is merged into an embedding as it is looked up", async () => {
    const lora = {
      "base_model.model.fc.lora_embedding_A": { shape: [1, 2], values: [1, 2] },
      "base_model.model.fc.lora_embedding_B": { shape: [2, 1], values: [10, 100] },
    };
    const nodes = [node("Gather", ["w", "ids"], ["y"], {}, "/m/fc/Gather")];
    // Row v is A[v] · B.
    expect(await run(await merged(nodes, ZEROS, lora))).toEqual([10, 100, 20, 200]);
  });

  test.each<[string, readonly Message[], unknown]>([
    [
      "two layers share",
      [
        node("MatMul", ["x", "w"], ["h"], {}, "/m/fc/MatMul"),
        node("MatMul", ["h", "w"], ["y"], {}, "/m/head/MatMul"),
      ],
      { code: "unsupported", message: expect.stringContaining("2 nodes share it") },
    ],
    [
      "an operator takes that is no layer",
      [node("Add", ["x", "w"], ["y"], {}, "/m/fc/Add")],
      { code: "unsupported", message: expect.stringContaining("Add uses it") },
    ],
    ["is not there", [node("MatMul", ["x", "w"], ["y"], {}, "/m/other/MatMul")], { code: "missing-weight" }],
  ])("refuses a weight that %s", async (_, nodes, error) => {
    await expect(merged(nodes)).rejects.toMatchObject(error as object);
  });

  test("refuses a weight that its file spells as numbers of varying length", async () => {
    const packed: Data = { packed: [0, 0, 0, 0], field: "int32" };
    const initializers = [tensor("w", "float16", [2, 2], packed)];
    const nodes = [
      node("Cast", ["x"], ["h"], { to: { int: 10 } }),
      node("MatMul", ["h", "w"], ["y"], {}, NAME),
    ];
    await expect(merged(nodes, initializers)).rejects.toMatchObject({
      code: "unsupported",
      tensor: "w",
      message: expect.stringContaining("varints"),
    });
  });

  describe("with several graphs", () => {
    const external = (name: string, offset: number): Message =>
      tensor(name, "float32", [2, 2], { external: { location: "w.bin", offset, length: 16 } });
    const parts = { inputs: [value("x", "float32", [2, 2])], outputs: [value("y", "float32", [2, 2])] };

    /** Two graphs over one data file of zeros, each taking some of its two weights. */
    async function mergedGraphs(one: readonly Message[], other: readonly Message[]): Promise<TareStore> {
      const folder = await temporaryFolder();
      const store = await openStore({ path: join(folder, "store") });
      const base = join(folder, "base");
      await mkdir(base);
      await writeFile(join(base, "w.bin"), new Uint8Array(32));
      const second = one.length > 1 ? [node("MatMul", ["h", "gc.weight"], ["y"])] : [];
      const nodes = [node("MatMul", ["x", "fc.weight"], [second.length > 0 ? "h" : "y"]), ...second];
      const a = graph({ ...parts, nodes, initializers: one });
      const b = graph({ ...parts, nodes: [node("MatMul", ["x", "own"], ["y"])], initializers: other });
      await writeFile(join(base, "a.onnx"), model({ graph: a }));
      await writeFile(join(base, "b.onnx"), model({ graph: b }));
      await store.add([base]);
      await store.add([await writePeftLora(join(folder, "lora"), LINEAR, { r: 1, lora_alpha: 1 })]);
      await merge(store, "base", [{ model: "lora" }], { as: "merged" });
      return store;
    }

    test("moves a weight that they share, whatever each calls it", async () => {
      const store = await mergedGraphs([external("fc.weight", 0)], [external("own", 0)]);
      const x = { dtype: "float32", shape: [2, 2], bytes: float32Bytes([1, 0, 0, 1]) } as const;
      for (const method of ["a", "b"]) {
        await using session = await runtimeOf(store).load("merged", { method });
        const { y } = await session.run({ x });
        expect((y as NumberTensor).bytes).toEqual(float32Bytes(RESULT));
      }
    });

    test("refuses where it is not clear which of the same bytes another graph means", async () => {
      const one = [external("fc.weight", 0), external("gc.weight", 16)];
      await expect(mergedGraphs(one, [external("own", 16)])).rejects.toMatchObject({
        code: "unsupported",
        message: expect.stringContaining("target is ambiguous"),
      });
    });

    test("refuses a weight whose place another one has too", async () => {
      const one = [external("fc.weight", 0), external("gc.weight", 0)];
      await expect(
        mergedGraphs(one, [tensor("own", "float32", [2, 2], floats(1, 2, 3, 4))]),
      ).rejects.toMatchObject({
        code: "unsupported",
        message: expect.stringContaining('"gc.weight" uses the same bytes'),
      });
    });

    test("refuses a weight that another one lies over", async () => {
      const one = [external("fc.weight", 0), external("gc.weight", 8)];
      await expect(
        mergedGraphs(one, [tensor("own", "float32", [2, 2], floats(1, 2, 3, 4))]),
      ).rejects.toMatchObject({
        code: "unsupported",
        message: expect.stringContaining("overlaps part"),
      });
    });
  });
});
