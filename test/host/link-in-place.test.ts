import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { beforeAll, describe, expect, test } from "vitest";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { convertWeights } from "../../src/host/convert/convert.ts";
import { openModelData } from "../../src/host/model-data.ts";
import { charlm } from "../support/charlm.ts";
import { type Home, home } from "../support/home.ts";
import { storedTensors } from "../support/stored-tensors.ts";

let family: string;
beforeAll(async () => {
  family = await charlm();
});

/** A store with `base` and `kjv`, and kjv's decoder weights as checkpoints in a folder of their own. */
async function checkpoints(): Promise<Home & { readonly weights: string }> {
  const at = await home({ workers: 1 });
  for (const model of ["base", "kjv"]) await at.store.add([join(family, model)], { threads: 1 });
  const weights = join(at.folder, "weights");
  await mkdir(weights);
  const tensors = await storedTensors(at.store, "kjv", "decoder");
  await writeFile(join(weights, "kjv.safetensors"), writeSafetensors(tensors));
  for (const kind of ["gguf", "irpa"]) {
    await using data = await openModelData([join(weights, "kjv.safetensors")]);
    // GGUF names are at most 63 bytes, which these are.
    await convertWeights(data, join(weights, `kjv.${kind}`));
  }
  return { ...at, weights };
}

async function logits(path: string): Promise<unknown> {
  const ids = BigInt64Array.of(1n, 37n, 82n, 5n);
  const session = await ort.InferenceSession.create(path);
  const outputs = await session.run({ input_ids: new ort.Tensor("int64", ids, [1, 4]) }, ["logits"]);
  return outputs.logits?.data;
}

describe("TareStore.linkInPlace()", () => {
  test("makes checkpoints the external data of a program that stock ONNX Runtime runs", async () => {
    const { store, weights } = await checkpoints();
    const expected = await logits(join(family, "kjv", "decoder.onnx"));
    for (const kind of ["safetensors", "gguf", "irpa"]) {
      const path = join(weights, `${kind}.onnx`);
      const { size, bindings } = await store.linkInPlace("base", join(weights, `kjv.${kind}`), path, {
        method: "decoder",
      });
      expect(size).toBeLessThan(200_000);
      expect(bindings.every((each) => each.location === `kjv.${kind}`)).toBe(true);
      expect(await logits(path)).toEqual(expected);
    }
  });

  test("refuses checkpoints that do not fit, or lie elsewhere, and writes nothing", async () => {
    const { store, folder, weights } = await checkpoints();
    const attempt = (file: string, out: string, map?: Record<string, string>): Promise<unknown> =>
      store.linkInPlace("base", file, out, { method: "decoder", map });
    const file = join(weights, "kjv.safetensors");
    await expect(attempt(file, join(folder, "views", "x.onnx"))).rejects.toMatchObject({
      code: "unsafe-path",
    });
    await expect(attempt(file, join(weights, "x.onnx"), { nobody: "x" })).rejects.toMatchObject({
      code: "not-found",
    });
    await writeFile(join(weights, "few.safetensors"), writeSafetensors({}));
    await expect(attempt(join(weights, "few.safetensors"), join(weights, "x.onnx"))).rejects.toMatchObject({
      code: "missing-weight",
    });
    await copyFile(file, join(weights, "there.onnx"));
    await expect(attempt(file, join(weights, "there.onnx"))).rejects.toMatchObject({ code: "exists" });
    expect((await readdir(weights)).filter((name) => name.endsWith(".onnx"))).toEqual(["there.onnx"]);
  });
});
