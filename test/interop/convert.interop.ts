import { createHash } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { memoryWeights } from "../../src/weights/memory.ts";
import { convertWeights } from "../../src/operations/convert/convert.ts";
import { type DType, tensorBytes } from "../../src/tensor/dtype.ts";
import type { NumberTensor } from "../../src/tensor/tensor.ts";
import { counting } from "../support/bytes.ts";
import { python } from "../support/python.ts";
import { temporaryFolder } from "../support/temporary.ts";

const NUMPY: readonly DType[] = [
  ...(["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"] as const),
  ...(["float16", "float32", "float64", "complex64", "complex128"] as const),
];

/** Weights of every dtype: of two dimensions, of none, and without elements. */
function weightsOf(dtypes: readonly DType[]): Record<string, NumberTensor> {
  const shapes = { "": [2, 3], ".scalar": [], "/größe": [0, 3] };
  const all = dtypes.flatMap((dtype) =>
    Object.entries(shapes).map(([end, shape]) => ({ dtype, end, shape })),
  );
  return Object.fromEntries(
    all.map(({ dtype, end, shape }, nth) => {
      const bytes = counting(tensorBytes(dtype, shape) ?? 0, nth);
      return [dtype + end, { dtype, shape, bytes: dtype === "bool" ? bytes.map((byte) => byte % 2) : bytes }];
    }),
  );
}

/** As the Python side says it. */
function described(weights: Readonly<Record<string, NumberTensor>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(weights).map(([name, { dtype, shape, bytes }]) => {
      return [name, { dtype, shape, sha256: createHash("sha256").update(bytes).digest("hex") }];
    }),
  );
}

describe("convertWeights()", () => {
  test("writes .npz files that NumPy reads", async () => {
    const weights = weightsOf(NUMPY);
    const path = join(await temporaryFolder(), "weights.npz");
    await convertWeights(memoryWeights(weights), path);
    expect(await python("tensors", path)).toEqual(described(weights));
  });

  test("writes .pt files that Python's zipfile and pickle read", async () => {
    const eights = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"] as const;
    const weights = weightsOf([...NUMPY, "bfloat16", ...eights]);
    const path = join(await temporaryFolder(), "weights.pt");
    await convertWeights(memoryWeights(weights), path);
    expect(await python("checkpoint", path)).toEqual(described(weights));
  });

  test("writes tensor caches whose shards Python reads", async () => {
    const weights = weightsOf(NUMPY.filter((dtype) => !dtype.startsWith("complex")));
    const path = join(await temporaryFolder(), "cache", "tensor-cache.json");
    await convertWeights(memoryWeights(weights), path);
    expect(await python("cache", path)).toEqual(described(weights));
  });

  test("writes .npy files that NumPy reads", async () => {
    const folder = await temporaryFolder();
    for (const [nth, weight] of Object.values(weightsOf(["float16"])).entries()) {
      const path = join(folder, `${nth}.npy`);
      await convertWeights(memoryWeights({ weight }), path);
      expect(await python("tensors", path)).toEqual(described({ "": weight }));
    }
  });
});
