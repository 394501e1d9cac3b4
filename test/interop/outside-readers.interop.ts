import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { writeTensors } from "../../src/operations/tensor-files/write-tensors.ts";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { DTYPE_BITS, type DType } from "../../src/tensor/dtype.ts";
import type { Tensor, Tensors } from "../../src/tensor/tensor.ts";
import { CHARLM_GRAPHS, charlm } from "../support/charlm.ts";
import { python } from "../support/python.ts";
import { storedTensors } from "../support/stored-tensors.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { link } from "../../src/link/link-folder.ts";
import { runtimeOf } from "../support/runtime.ts";
import { bind } from "../../src/link/bind.ts";

const IDS = new Uint8Array(BigInt64Array.of(1n, 37n, 82n, 5n).buffer);
const INPUTS: Tensors = { input_ids: { dtype: "int64", shape: [1, 4], bytes: IDS } };

let family: string;
beforeAll(async () => {
  family = await charlm();
});

describe("a view that link made", () => {
  test("is run by Python's onnxruntime, with equal outputs", async () => {
    const { store, folder } = await familyStore();
    const view = join(folder, "view");
    await link(store, "base", view);
    await writeTensors(join(folder, "inputs.npz"), INPUTS);
    const theirs = await python("run", join(view, "decoder.onnx"), join(folder, "inputs.npz"));
    expect(Object.keys(theirs)).toContain("logits");
    await using session = await runtimeOf(store).load("base", { method: "decoder", threads: 1 });
    expect(described(await session.run(INPUTS))).toEqual(theirs);
  });

  test("is read by Python's onnx, once its weights are copies", async () => {
    const { store, folder } = await familyStore();
    const { linkedBytes } = await link(store, "base", join(folder, "view"));
    await cp(join(folder, "view"), join(folder, "copy"), { recursive: true });
    for (const graph of CHARLM_GRAPHS) {
      const original = await python("initializers", join(family, "base", `${graph}.onnx`));
      expect(await python("initializers", join(folder, "copy", `${graph}.onnx`))).toEqual(original);
      // onnx (1.21 and later) takes every file with a second hard link for an attack; reflinks it cannot tell.
      const linked = await python("initializers", join(folder, "view", `${graph}.onnx`));
      if (linkedBytes > 0)
        expect(linked).toEqual({ refused: expect.stringContaining("multiple hard links") });
      else expect(linked).toEqual(original);
    }
  });
});

describe("a program that link wrote as one file", () => {
  test("is read by Python's onnx and run by its onnxruntime, its weights inside or in a checkpoint", async () => {
    const { store, folder } = await familyStore();
    await writeTensors(join(folder, "inputs.npz"), INPUTS);
    await using session = await runtimeOf(store).load("base", { method: "decoder", threads: 1 });
    const expected = described(await session.run(INPUTS));
    const tensors = await storedTensors(store, "base", "decoder");
    await writeTensors(join(folder, "base.safetensors"), tensors);
    const original = await python("initializers", join(family, "base", "decoder.onnx"));
    for (const storage of ["embedded", "in-place"] as const) {
      const weights = storage === "in-place" ? join(folder, "base.safetensors") : undefined;
      await using program = await bind(store, "base", { method: "decoder", weights });
      const path = join(folder, `${storage}.onnx`);
      await program.write(path, { storage });
      expect(await python("initializers", path)).toEqual(original);
      expect(await python("run", path, join(folder, "inputs.npz"))).toEqual(expected);
    }
  });
});

describe("a model that onnx.save_model wrote", () => {
  test.for(["one", "many"])(
    "with its tensors in %s external data file(s) is added, exported and run",
    async (files) => {
      const { store, folder } = await familyStore();
      const saved = join(folder, "saved");
      await mkdir(saved);
      await python("save", join(family, "base", "decoder.onnx"), saved, files);
      const names = (await readdir(saved)).sort();
      expect(names.length > 2).toBe(files === "many");

      const { newBytes, fileBytes } = await store.add([join(saved, "model.onnx")], {
        as: "saved",
        threads: 1,
      });
      // base is there already: new are the program, the tables, and the constants' packs.
      expect(newBytes).toBeLessThan(fileBytes / 10);
      await store.export("saved", join(folder, "exported"));
      expect((await readdir(join(folder, "exported"))).sort()).toEqual(names);
      for (const name of names) {
        const exported = await readFile(join(folder, "exported", name));
        expect(exported.equals(await readFile(join(saved, name))), name).toBe(true);
      }
      await using session = await runtimeOf(store).load("saved", { threads: 1 });
      await using original = await runtimeOf(store).load("base", { method: "decoder", threads: 1 });
      expect(described(await session.run(INPUTS))).toEqual(described(await original.run(INPUTS)));

      await link(store, "saved", join(folder, "view"));
      await writeTensors(join(folder, "inputs.npz"), INPUTS);
      const theirs = await python("run", join(folder, "view", "model.onnx"), join(folder, "inputs.npz"));
      expect(described(await session.run(INPUTS))).toEqual(theirs);
    },
  );
});

describe("writeTensors()", () => {
  const NUMPY: readonly DType[] = [
    ...(["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"] as const),
    ...(["float16", "float32", "float64"] as const),
  ];

  test.for(["npz", "safetensors"])("writes a .%s file that Python reads", async (kind) => {
    const tensors = Object.fromEntries(
      NUMPY.flatMap((dtype): [string, Tensor][] => [
        [dtype, patterned(dtype, [2, 3])],
        [`${dtype}-scalar`, patterned(dtype, [])],
        [`${dtype}-empty`, patterned(dtype, [0, 3])],
      ]),
    );
    const path = join(await temporaryFolder(), `tensors.${kind}`);
    await writeTensors(path, tensors);
    expect(await python("tensors", path)).toEqual(described(tensors));
  });
});

async function familyStore(): Promise<{ store: TareStore; folder: string }> {
  const folder = await temporaryFolder();
  const store = await openStore({ path: join(folder, "store") });
  await store.add([join(family, "base")], { threads: 1 });
  return { store, folder };
}

/** As the Python side says it. */
function described(tensors: Tensors): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      if (tensor.dtype === "string") throw new TypeError("no strings here");
      const sha256 = createHash("sha256").update(tensor.bytes).digest("hex");
      return [name, { dtype: tensor.dtype, shape: tensor.shape, sha256 }];
    }),
  );
}

function patterned(dtype: DType, shape: readonly number[]): Tensor {
  const length = (shape.reduce((product, dim) => product * dim, 1) * DTYPE_BITS[dtype]) / 8;
  const bytes = Uint8Array.from({ length }, (_, index) =>
    dtype === "bool" ? index % 2 : (index * 37) % 128,
  );
  return { dtype, shape, bytes };
}
