import { describe, expect, test } from "vitest";
import type { Port } from "../../src/engines/engine.ts";
import { requireFeeds } from "../../src/engines/feeds.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

const floats = (shape: readonly number[], bytes: number): Tensor => {
  return { dtype: "float32", shape, bytes: new Uint8Array(bytes) };
};

const texts = (shape: readonly number[], ...strings: string[]): Tensor => ({
  dtype: "string",
  shape,
  strings,
});

function feed(port: Omit<Port, "name">, x: Tensor, name?: string): void {
  requireFeeds({ inputs: [{ name: "x", ...port }], outputs: [] }, { x }, name);
}

describe("requireFeeds()", () => {
  const batch = { dtype: "float32", shape: ["batch", undefined, -1, 4] } as const;

  test.each([
    ["names and unknown dimensions", batch, floats([2, 1, 3, 4], 96)],
    ["an empty batch", batch, floats([0, 1, 3, 4], 0)],
    ["an unknown rank", { dtype: "float32", shape: undefined }, floats([3, 5], 60)],
    ["an unknown dtype", { dtype: undefined, shape: [2] }, floats([2], 8)],
    ["a scalar", { dtype: "float32", shape: [] }, floats([], 4)],
    ["a scalar as a tensor of one element", { dtype: "float32", shape: [] }, floats([1], 4)],
    ["strings", { dtype: "string", shape: [2] }, texts([2], "a", "b")],
    [
      "packed elements",
      { dtype: "int4", shape: [3] },
      { dtype: "int4", shape: [3], bytes: new Uint8Array(2) },
    ],
  ] as const)("accepts %s", (_, port, x) => {
    expect(() => feed(port, x)).not.toThrow();
  });

  test.each([
    ["is float32, not int64", { dtype: "int64", shape: [2] }, floats([2], 8)],
    ["is string, not float32", { dtype: "float32", shape: [1] }, texts([1], "a")],
    ["has shape [2, 4], not [batch, ?, -1, 4]", batch, floats([2, 4], 32)],
    ["has shape [2, 1, 3, 5], not [batch, ?, -1, 4]", batch, floats([2, 1, 3, 5], 120)],
    ["has shape [2], not []", { dtype: "float32", shape: [] }, floats([2], 8)],
    [
      "has 8 bytes, but float32 [1, 4] takes 16",
      { dtype: "float32", shape: [1, undefined] },
      floats([1, 4], 8),
    ],
    ["has 5 bytes, but float32 [1] takes 4", { dtype: "float32", shape: undefined }, floats([1], 5)],
    ["has the impossible shape [-1, 4]", { dtype: "float32", shape: undefined }, floats([-1, 4], 16)],
    ["has the impossible shape [0.5]", { dtype: "float32", shape: ["n"] }, floats([0.5], 2)],
    ["has 1 strings, but shape [2] takes 2", { dtype: "string", shape: [2] }, texts([2], "a")],
  ] as const)("says that an input %s", (reason, port, x) => {
    expect(() => feed(port, x, "m")).toThrow(
      expect.objectContaining({
        code: "bad-input",
        tensor: "x",
        message: `Cannot run "m": input "x" ${reason}`,
      }),
    );
  });

  test("runs without a model's name", () => {
    expect(() => feed({ dtype: "int64", shape: [1] }, floats([1], 4))).toThrow(
      'Cannot run the model: input "x" is float32, not int64',
    );
  });
});
