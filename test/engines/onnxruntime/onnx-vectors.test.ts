import { copyFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { openStore } from "../../../src/tare-store.ts";
import { findVectors, type Outcome, type Vector, VectorRunner } from "../../support/onnx-vectors.ts";
import { DATA_TYPE, graph, model, node, type OnnxDType, value } from "../../support/onnx-builder.ts";
import { LONG } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { runtimeOf } from "../../support/runtime.ts";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/onnx-vectors", import.meta.url));

/** Stock folds these weights with constants when it loads them; both are equal to stock where the weight is fed. */
const CLOSE = ["onnx-node-first/test_attention_3d_expanded", "onnx-node-rest/test_attention_3d_expanded"];

async function fixtures(): Promise<Vector[]> {
  const vectors = await findVectors(FIXTURES);
  const byName = new Map(vectors.map((vector) => [vector.name, vector]));
  return vectors.map((vector) => ({
    ...vector,
    fed: byName.get(vector.name.replace(/^onnx-node-(first|rest)\//, "onnx-node/")),
  }));
}

function namesOf(outcomes: ReadonlyMap<string, Outcome>, kind: Outcome["kind"]): string[] {
  return [...outcomes].filter(([, outcome]) => outcome.kind === kind).map(([name]) => name);
}

describe("ONNX's test vectors", LONG, () => {
  test("give through a store what stock ONNX Runtime gives, bit for bit", async () => {
    const store = await openStore({ path: join(await temporaryFolder(), "store") });
    const vectors = await fixtures();
    const outcomes = await new VectorRunner(store, ort).run(vectors);
    expect(outcomes.size).toBe(vectors.length);
    expect([...outcomes].filter(([, outcome]) => outcome.kind === "different")).toEqual([]);
    expect(namesOf(outcomes, "skipped")).toEqual([]);
    // Another processor may add up in the same order both ways.
    for (const name of namesOf(outcomes, "close")) expect(CLOSE).toContain(name);
    const unexpected = [...outcomes].filter(
      ([, outcome]) => outcome.kind === "equal" && outcome.unexpected !== undefined,
    );
    expect(unexpected).toEqual([]);
    // The sample is of no use unless its weights are told from constants, and every way to load is taken.
    const loaded = [...outcomes.values()].flatMap((outcome) => ("loaded" in outcome ? [outcome.loaded] : []));
    expect(loaded.filter(({ weights }) => weights > 0).length).toBeGreaterThan(loaded.length / 2);
    expect(loaded.some(({ whole }) => whole?.includes("sparse"))).toBe(true);
    expect(loaded.some(({ whole }) => whole?.includes("function"))).toBe(true);
    expect(loaded.some(({ whole }) => whole?.includes("int4"))).toBe(true);
    expect(loaded.some(({ prepacked }) => prepacked)).toBe(true);
  });
});

describe("TareStore.add()", () => {
  test("adds a model again whose only weight is in the store by itself", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    const model = join(FIXTURES, "onnx-node-first", "test_matmul_2d", "model.onnx");
    const first = await store.add([model], { as: "first", threads: 1 });
    expect(first.weights).toBe(1);
    await copyFile(model, join(folder, "second.onnx"));
    const second = await store.add([join(folder, "second.onnx")], { threads: 1 });
    expect(second.weights).toBe(1);
    await using session = await runtimeOf(store).load("second", { threads: 1 });
    expect(session.signature.inputs.map((port) => port.name)).toEqual(["b"]);
  });
});

/** y = x, in another type. */
function castModel(from: OnnxDType, to: OnnxDType): Uint8Array {
  return model({
    ir: 10,
    opsets: { "": 21 },
    graph: graph({
      nodes: [node("Cast", ["x"], ["y"], { to: { int: DATA_TYPE[to] } })],
      inputs: [value("x", from, [4])],
      outputs: [value("y", to, [4])],
    }),
  });
}

describe("Session.run()", () => {
  // Asked for such an output, onnxruntime-node 1.30 ends the process.
  test("refuses to feed or fetch int4, which the engine cannot", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    await writeFile(join(folder, "fetch.onnx"), castModel("float32", "int4"));
    await store.add([join(folder, "fetch.onnx")], { threads: 1 });
    await using fetch = await runtimeOf(store).load("fetch");
    const x = { dtype: "float32", shape: [4], bytes: new Uint8Array(16) } as const;
    await expect(fetch.run({ x })).rejects.toMatchObject({ code: "engine", tensor: "y" });

    await writeFile(join(folder, "feed.onnx"), castModel("int4", "float32"));
    await store.add([join(folder, "feed.onnx")], { threads: 1 });
    await using feed = await runtimeOf(store).load("feed");
    const packed = { dtype: "int4", shape: [4], bytes: new Uint8Array(2) } as const;
    await expect(feed.run({ x: packed })).rejects.toMatchObject({ code: "bad-input", tensor: "x" });
  });
});
