import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { type CharlmModel, charlmGguf } from "../../../fixtures/charlm/rebuild-gguf.mjs";
import { parseGgufHeader } from "../../../src/formats/gguf/parse.ts";
import { zipSync } from "fflate";
import { parseNpz, writeNpz } from "../../../src/formats/npy/npz.ts";
import { writeNpy } from "../../../src/formats/npy/write.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import type { NumberTensor, Tensors } from "../../../src/tensor/tensor.ts";
import { charlm } from "../../support/charlm.ts";
import { storedTensors } from "../../support/stored-tensors.ts";
import { prepareStore } from "../../support/prepared-store.ts";
import { SAMPLED, THOROUGH } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { runtimeOf } from "../../support/runtime.ts";
import { refit } from "../../../src/operations/refit/refit.ts";
import { proposeRefit } from "../../../src/operations/refit/propose-refit.ts";
import { describeModel } from "../../../src/operations/describe.ts";

let family: string;
beforeAll(async () => {
  family = await charlm();
});

async function familyStore(
  models: readonly CharlmModel[] = ["base", "kjv"],
): Promise<{ store: TareStore; folder: string }> {
  const folder = await temporaryFolder();
  await prepareStore(join(folder, "store"), "onnx-compiled", models);
  const store = await openStore({ path: join(folder, "store") });
  return { store, folder };
}

async function digestsOf(store: TareStore, name: string): Promise<string[]> {
  const { methods } = await describeModel(store, name);
  return methods.flatMap((method) =>
    method.weights.map((weight) => `${method.name}/${weight.name} ${weight.digest}`),
  );
}

async function outputsOf(store: TareStore, name: string): Promise<{ outputs: Tensors; cached: boolean }> {
  await using session = await runtimeOf(store).load(name, { method: "decoder", threads: 1 });
  const ids = new Uint8Array(BigInt64Array.of(1n, 37n, 82n, 5n).buffer);
  const outputs = await session.run({ input_ids: { dtype: "int64", shape: [1, 4], bytes: ids } });
  return { outputs, cached: session.cached };
}

describe("refit()", () => {
  test("binds the compiled program to a model of the store: every digest is the new one's, nothing is written", async () => {
    const { store } = await familyStore();
    const before = await outputsOf(store, "base");
    const result = await refit(store, "base", "kjv", { as: "tuned" });
    expect(result).toMatchObject({ how: "relink", kept: [], bound: expect.any(Number) });
    // A config, a table of locations and a manifest.
    expect(result.newBytes).toBeLessThan(40_000);
    expect(await digestsOf(store, "tuned")).toEqual(await digestsOf(store, "kjv"));
    const tuned = await outputsOf(store, "tuned");
    expect(tuned.cached).toBe(true);
    expect(tuned.outputs).toEqual((await outputsOf(store, "kjv")).outputs);
    expect(tuned.outputs).not.toEqual(before.outputs);
    expect((await outputsOf(store, "base")).outputs).toEqual(before.outputs);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test.each(["safetensors", "npz", "state dict"])(
    "takes a %s by the names of the graph",
    SAMPLED,
    async (kind) => {
      const { store, folder } = await familyStore();
      const wanted = await digestsOf(store, "kjv");
      const tensors = await storedTensors(store, "kjv");
      await store.remove(["kjv"]);
      await store.gc();
      const path = join(folder, `new.${kind}`);
      if (kind === "npz") await writeFile(path, writeNpz(tensors));
      if (kind === "safetensors") await writeFile(path, writeSafetensors(tensors));
      const result = await refit(store, "base", kind === "state dict" ? tensors : path, { as: "tuned" });
      expect(await digestsOf(store, "tuned")).toEqual(wanted);
      // What differs between the two is new, and nothing of the checkpoint's own file stays.
      expect(result.newBytes).toBeLessThan(1_800_000);
      const blobs = await readdir(join(store.path, "blobs", "sha256"));
      await store.gc();
      expect((await readdir(join(store.path, "blobs", "sha256"))).length).toBe(blobs.length);
      expect(await readdir(join(store.path, "tmp"))).toEqual([]);
      expect(await store.list()).toMatchObject([{ name: "base" }, { name: "tuned" }]);
      if (THOROUGH || kind === "safetensors") {
        const checks = await runtimeOf(store).verifyRefit("tuned");
        expect(checks.map((each) => each.method)).toEqual(["decoder", "decoder_with_past"]);
      }
      // The result is a model as any other: its files come back, and are added again as the same.
      await store.export("tuned", join(folder, "exported"));
      for (const graph of ["decoder.onnx", "decoder_with_past.onnx"]) {
        const [ours, theirs] = await Promise.all(
          [join(folder, "exported", graph), join(family, "kjv", graph)].map((file) => readFile(file)),
        );
        expect(ours?.equals(theirs as Buffer)).toBe(true);
      }
    },
  );

  test("binds a GGUF model to a checkpoint with the same names", async () => {
    const folder = await temporaryFolder();
    await prepareStore(join(folder, "store"), "gguf", ["base", "kjv"]);
    const store = await openStore({ path: join(folder, "store") });
    const checkpoint = join(folder, "kjv.safetensors");
    await writeFile(checkpoint, writeSafetensors(await storedTensors(store, "kjv")));
    await refit(store, "base", checkpoint, { as: "tuned" });
    await store.export("tuned", join(folder, "tuned.gguf"));
    const [ours, theirs] = await Promise.all(
      [join(folder, "tuned.gguf"), await charlmGguf("kjv")].map((path) => readFile(path)),
    );
    const header = parseGgufHeader(new Uint8Array(theirs as Buffer), {
      name: "kjv",
      size: (theirs as Buffer).byteLength,
    });
    const start = header?.tensors[0]?.offset ?? 0;
    // All but general.name, which stays the base's.
    expect(
      (ours as Buffer)
        .subarray(-((theirs as Buffer).byteLength - start))
        .equals((theirs as Buffer).subarray(start)),
    ).toBe(true);
  });

  test("keeps what a partial checkpoint lacks, and says what", async () => {
    const { store } = await familyStore();
    const tensors = await storedTensors(store, "kjv");
    const head = Object.fromEntries(Object.entries(tensors).filter(([name]) => name.includes("output")));
    const names = Object.keys(head);
    expect(names.length).toBeGreaterThan(0);
    await expect(refit(store, "base", head, { as: "tuned" })).rejects.toMatchObject({
      code: "missing-weight",
    });
    const result = await refit(store, "base", head, { as: "tuned", partial: true });
    expect(result).toMatchObject({
      bound: names.length,
      kept: expect.arrayContaining(["m.token_embd.weight"]),
    });
    const [base, kjv, tuned] = await Promise.all(
      ["base", "kjv", "tuned"].map((name) => digestsOf(store, name)),
    );
    tuned?.forEach((line, index) => {
      const name = line.split(/[/ ]/)[1] as string;
      expect(line).toBe((names.includes(name) ? kjv : base)?.[index]);
    });
  });

  test("proposes a mapping for other names, which then binds all of them", async () => {
    const { store } = await familyStore();
    const wanted = await digestsOf(store, "kjv");
    const tensors = await storedTensors(store, "kjv");
    const renamed = Object.fromEntries(
      Object.values(tensors).map((tensor, index) => [`renamed.${(index * 7) % 997}.w`, tensor]),
    );
    expect(Object.keys(renamed)).toHaveLength(Object.keys(tensors).length);
    const proposals = await proposeRefit(store, "base", renamed);
    expect(proposals).toHaveLength(Object.keys(tensors).length);
    const map = Object.fromEntries(proposals.map(({ name, from }) => [name, from]));
    await refit(store, "base", renamed, { as: "tuned", map });
    // Fine-tunes resemble what they came from: the guess is right, and where it may not be, it says so.
    const right = (await digestsOf(store, "tuned")).filter((line, index) => line === wanted[index]);
    expect(right.length).toBeGreaterThan(0.9 * wanted.length);
  });

  test("refuses what does not fit, lists it, and leaves the store as it was", async () => {
    const { store, folder } = await familyStore();
    const tensors = await storedTensors(store, "kjv");
    const [name = "", first] = Object.entries(tensors).find(([, tensor]) => tensor.shape.length === 2) ?? [];
    const blobs = (await readdir(join(store.path, "blobs", "sha256"))).sort();
    const tune = (weights: Tensors | string, options = {}): Promise<unknown> =>
      refit(store, "base", weights, { as: "tuned", ...options });
    const turned = {
      ...tensors,
      [name]: { ...(first as NumberTensor), shape: first?.shape.toReversed() ?? [] },
    };
    if (first?.shape[0] !== first?.shape[1]) {
      await expect(tune(turned)).rejects.toMatchObject({ code: "mismatch", tensor: name });
    }
    const wider = { ...tensors, [name]: { dtype: "float64", shape: [1], bytes: new Uint8Array(8) } } as const;
    await expect(tune(wider)).rejects.toMatchObject({
      code: "mismatch",
      message: expect.stringContaining(name),
    });
    const more = { ...tensors, extra: { dtype: "float32", shape: [1], bytes: new Uint8Array(4) } } as const;
    await expect(tune(more)).rejects.toMatchObject({ code: "unused-weight", tensor: "extra" });
    await expect(tune(tensors, { map: { a: "b", b: "a" } })).rejects.toMatchObject({ code: "mismatch" });
    await expect(tune(tensors, { map: { nobody: name } })).rejects.toMatchObject({ code: "not-found" });
    await expect(tune(tensors, { as: "base" })).rejects.toMatchObject({ code: "usage" });
    const one = {
      [name]: { ...(first as NumberTensor), bytes: new Uint8Array(first?.bytes.byteLength ?? 0) },
    };
    await expect(tune(one, { as: "kjv", partial: true })).rejects.toMatchObject({ code: "name-taken" });
    await expect(tune(join(folder, "nowhere.safetensors"))).rejects.toMatchObject({ code: "not-found" });
    const cut = join(folder, "cut.safetensors");
    await writeFile(cut, writeSafetensors(tensors));
    await truncate(cut, 100_000);
    await expect(tune(cut)).rejects.toMatchObject({ code: "malformed", path: cut });
    await expect(tune(tensors, { signal: AbortSignal.abort() })).rejects.toThrow();
    expect((await readdir(join(store.path, "blobs", "sha256"))).sort()).toEqual(blobs);
    expect((await store.list()).map((model) => model.name)).toEqual(["base", "kjv"]);
  });

  test("says when a checkpoint comes with another program, and takes that on request", async () => {
    const { store } = await familyStore();
    const other = fileURLToPath(new URL("../../../fixtures/onnx/raw.onnx", import.meta.url));
    await expect(refit(store, "base", other, { as: "tuned" })).rejects.toMatchObject({
      code: "mismatch",
      hint: expect.stringContaining("--recompile"),
    });
    expect(await refit(store, "base", other, { as: "tuned", recompile: true })).toMatchObject({
      how: "recompile",
    });
    await refit(store, "tuned", "base", { as: "again", recompile: true });
    expect(await digestsOf(store, "again")).toEqual(await digestsOf(store, "base"));
  });

  test("lets weights that are NaN through: they are the user's", async () => {
    const { store } = await familyStore(["base"]);
    const tensors = await storedTensors(store, "base");
    const [name = "", tensor] = Object.entries(tensors).find(([each]) => each.includes("output_norm")) ?? [];
    const nan = new Uint8Array(new Float32Array((tensor?.bytes.byteLength ?? 0) / 4).fill(Number.NaN).buffer);
    await refit(
      store,
      "base",
      { [name]: { ...(tensor as NumberTensor), bytes: nan } },
      { as: "nan", partial: true },
    );
    const { outputs } = await outputsOf(store, "nan");
    const logits = outputs.logits as NumberTensor;
    expect(new Float32Array(logits.bytes.slice().buffer).every(Number.isNaN)).toBe(true);
    expect((await runtimeOf(store).verifyRefit("nan")).length).toBe(2);
  });
});

describe("refit() to tensors in another form", () => {
  const LOOSE = fileURLToPath(new URL("../../../fixtures/loose", import.meta.url));
  const zeros = (shape: readonly number[]): NumberTensor => {
    return { dtype: "float32", shape, bytes: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)) };
  };

  async function baseStore(): Promise<{ store: TareStore; folder: string }> {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    await writeFile(
      join(folder, "base.safetensors"),
      writeSafetensors({ a: zeros([64, 32]), v: zeros([64, 1]) }),
    );
    await store.add([join(folder, "base.safetensors")]);
    return { store, folder };
  }

  test("binds them as plain ones, from a file and from a store", async () => {
    const { store } = await baseStore();
    const file = join(LOOSE, "fortran.npz");
    await store.add([file], { as: "fortran" });
    const expected = parseNpz(new Uint8Array(await readFile(file)), file);
    for (const [nth, ref] of [file, "fortran"].entries()) {
      const { kept, bound } = await refit(store, "base", ref, { as: `tuned-${nth}`, partial: true });
      expect([kept, bound]).toEqual([[], 2]);
      expect(await storedTensors(store, `tuned-${nth}`)).toEqual(expected);
    }
  });

  test("never keeps an old weight where the new one cannot be read", async () => {
    const { store, folder } = await baseStore();
    const structure = await readFile(
      new URL("../../../fixtures/numpy/refused-structure.npy", import.meta.url),
    );
    const a = writeNpy({ dtype: "float32", shape: [64, 32], bytes: new Uint8Array(64 * 32 * 4).fill(1) });
    const path = join(folder, "new.npz");
    await writeFile(path, zipSync({ "a.npy": a, "v.npy": new Uint8Array(structure) }, { level: 0 }));
    await store.add([path], { as: "new" });
    for (const ref of [path, "new"]) {
      await expect(refit(store, "base", ref, { as: "tuned", partial: true })).rejects.toMatchObject({
        code: "unsupported",
        tensor: "v",
        message: expect.stringContaining("structures"),
      });
    }
    expect(await store.list()).not.toContain("tuned");
  });
});
