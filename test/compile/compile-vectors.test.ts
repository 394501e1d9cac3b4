import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Backend } from "../../src/compile/backends/backend.ts";
import { PortableBackend } from "../../src/compile/backends/portable.ts";
import { TareError } from "../../src/errors.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import type { Tensors } from "../../src/tensor/tensor.ts";
import { findVectors, readTensor, type Vector } from "../support/onnx-vectors.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures/onnx-vectors", import.meta.url));

/** Takes about half of the nodes, whichever by the names of what they make: cuts come anywhere. */
function someBackend(): Backend {
  const portable = new PortableBackend();
  return {
    id: "some",
    version: "1",
    takes: ({ outputs }) => [...outputs.join()].reduce((sum, each) => sum + each.charCodeAt(0), 0) % 2 === 0,
    compile: (partitions) => portable.compile(partitions),
  };
}

function texts(outputs: Tensors): string {
  return JSON.stringify(
    Object.entries(outputs).map(([name, each]) => [
      name,
      each.dtype,
      each.shape,
      each.dtype === "string" ? each.strings : Buffer.from(each.bytes).toString("hex"),
    ]),
  );
}

/** What became of a vector: partitions that gave the same, or the reason why it was not cut. */
async function cut(store: TareStore, vector: Vector): Promise<number | string> {
  await store.add([vector.model], { as: "v", threads: 1 });
  try {
    const options = { backends: [someBackend(), "portable"], threads: 1 };
    const { model } = await runtimeOf(store).compile("v", options);
    const count = model.methods[0]?.partitions.length ?? 0;
    if (count < 2) return count;
    await using whole = await runtimeOf(store).load("v", { level: "disabled", threads: 1 });
    await using parts = await runtimeOf(store).loadCompiled("v", options);
    expect(parts.signature).toEqual(whole.signature);
    const names = whole.signature.inputs.map((port) => port.name);
    for (const set of vector.sets) {
      const feeds: [string, Tensors[string]][] = [];
      for (const [index, path] of set.inputs.entries()) {
        const name = names[index];
        if (name !== undefined) feeds.push([name, await readTensor(path)]);
      }
      const inputs = Object.fromEntries(feeds);
      expect(texts(await parts.run(inputs)), vector.name).toBe(texts(await whole.run(inputs)));
    }
    return count;
  } catch (error) {
    if (error instanceof TareError && error.code === "unsupported") return error.message;
    throw error;
  } finally {
    await store.remove(["v"]);
  }
}

describe("ONNX's test vectors, cut anywhere", LONG, () => {
  test("give what they give whole, bit for bit, or say why they cannot be cut", async () => {
    const store = await openStore({ path: join(await temporaryFolder(), "store") });
    const outcomes = new Map<string, number | string>();
    for (const vector of await findVectors(FIXTURES)) outcomes.set(vector.name, await cut(store, vector));
    const all = [...outcomes.values()];
    // Only that of sequences travels between its parts; the others have too few nodes, or were cut.
    expect(all.filter((each) => typeof each === "string")).toEqual([
      expect.stringMatching(/"seq_1" would pass between partitions, and is not a tensor/),
    ]);
    expect(all.filter((each) => typeof each === "number" && each > 1).length).toBeGreaterThanOrEqual(12);
  });
});
