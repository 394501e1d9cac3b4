import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { openWeights } from "../../../src/weights/open-weights.ts";
import { streamWeight } from "../../../src/weights/stream-weight.ts";
import { home } from "../../support/home.ts";

/** Files that Python's onnx wrote, 1.16 and later. */
const FIXTURES = fileURLToPath(new URL("../../../fixtures/onnx-odd", import.meta.url));

async function bytesOf(file: string, key: string): Promise<Buffer> {
  await using weights = await openWeights(join(FIXTURES, file));
  const pieces: Uint8Array[] = [];
  for await (const piece of streamWeight(weights, key)) pieces.push(piece);
  return Buffer.concat(pieces);
}

describe("int4 in int32_data", () => {
  // onnx.numpy_helper.to_array() gives -8 1 0 6 -5 4 -3 -3, and 2 4 -8 4 -1 0 2 -4.
  test.each([
    ["int4-negative.onnx", [0x18, 0x60, 0x4b, 0xdd]],
    ["int4-onnx116.onnx", [0x42, 0x48, 0x0f, 0xc2]],
  ])("is read sign-extended, and exported as it was: %s", async (file, first) => {
    const bytes = await bytesOf(file, "Q");
    expect(bytes).toHaveLength(33);
    expect([...bytes.subarray(0, 4)]).toEqual(first);
    const { store, folder } = await home();
    await store.add([join(FIXTURES, file)], { as: "odd" });
    await store.export("odd", join(folder, "out.onnx"));
    expect(await readFile(join(folder, "out.onnx"))).toEqual(await readFile(join(FIXTURES, file)));
  });
});

describe("external data", () => {
  test("of length 0 has the length of its shape", async () => {
    const data = await readFile(join(FIXTURES, "w.bin"));
    expect(await bytesOf("length-0.onnx", "W")).toEqual(data.subarray(0, 4096));
    expect(await bytesOf("length-0.onnx", "B")).toEqual(data.subarray(4096));
  });
});
