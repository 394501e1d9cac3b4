import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { beforeAll, describe, expect, test } from "vitest";
import { memoryWeights } from "../../src/weights/memory.ts";
import type { Session } from "../../src/engines/engine.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { convertWeights } from "../../src/operations/convert/convert.ts";
import type { WeightRef } from "../../src/weights/open-ref.ts";
import { openWeights } from "../../src/weights/open-weights.ts";
import { charlm } from "../support/charlm.ts";
import { serveFiles } from "../support/file-server.ts";
import { type Home, home } from "../support/home.ts";
import { prepareStore } from "../support/prepared-store.ts";
import { storedTensors } from "../support/stored-tensors.ts";
import { thrown } from "../support/thrown.ts";
import { bindFile } from "../../src/link/bind-file.ts";
import { bind } from "../../src/link/bind.ts";
import { loadBound, runtimeOf } from "../support/runtime.ts";

let family: string;
beforeAll(async () => {
  family = await charlm();
});

/** A store with `base` and `kjv`, and kjv's decoder weights as checkpoints in a folder of their own. */
async function checkpoints(): Promise<Home & { readonly weights: string }> {
  const at = await home({ workers: 1 }, (path) => prepareStore(path, "onnx-compiled", ["base", "kjv"]));
  const weights = join(at.folder, "weights");
  await mkdir(weights);
  const tensors = await storedTensors(at.store, "kjv", "decoder");
  await writeFile(join(weights, "kjv.safetensors"), writeSafetensors(tensors));
  for (const kind of ["gguf", "irpa"]) {
    await using data = await openWeights(join(weights, "kjv.safetensors"));
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

async function expectSame(one: string, other: string): Promise<void> {
  expect((await readFile(one)).equals(await readFile(other))).toBe(true);
}

describe("BoundProgram.write()", () => {
  test("makes checkpoints the external data of a program that stock ONNX Runtime runs", async () => {
    const { store, weights } = await checkpoints();
    const expected = await logits(join(family, "kjv", "decoder.onnx"));
    for (const kind of ["safetensors", "gguf", "irpa"]) {
      const file = join(weights, `kjv.${kind}`);
      await using program = await bind(store, "base", { method: "decoder", weights: file });
      expect(program.bindings.every(({ storage }) => storage.kind === "file" && storage.path === file)).toBe(
        true,
      );
      const { size } = await program.write(join(weights, `${kind}.onnx`), { storage: "in-place" });
      expect(size).toBeLessThan(200_000);
      expect(await logits(join(weights, `${kind}.onnx`))).toEqual(expected);
    }
  });

  test("moves one program between all storages, and its graph and weights stay what they are", async () => {
    const { store, weights, folder } = await checkpoints();
    const expected = await logits(join(family, "kjv", "decoder.onnx"));
    const file = join(weights, "kjv.safetensors");
    const at = (name: string): string => join(weights, name);
    await using program = await bind(store, "base", { method: "decoder", weights: file });
    await program.write(at("embedded.onnx"), { storage: "embedded" });
    expect(await logits(at("embedded.onnx"))).toEqual(expected);

    const { size } = await program.write(at("thin.onnx"), { storage: "symbolic", scope: "kjv" });
    expect(size).toBeLessThan(200_000);
    await expect(logits(at("thin.onnx"))).rejects.toThrow();
    for (const [nth, from] of [file, at("kjv.gguf"), "kjv"].entries()) {
      // A model of the store has these weights in two methods; either serves.
      const scope = from === "kjv" ? await store.weights("kjv", { method: "decoder" }) : from;
      await using again = await bindFile(store, at("thin.onnx"), { scopes: { kjv: scope } });
      await again.write(at(`whole-${nth}.onnx`), { storage: "embedded" });
      await expectSame(at(`whole-${nth}.onnx`), at("embedded.onnx"));
    }

    await using whole = await bindFile(store, at("embedded.onnx"));
    await whole.write(at("symbolic-again.onnx"), { storage: "symbolic", scope: "kjv" });
    await expectSame(at("symbolic-again.onnx"), at("thin.onnx"));
    await using placed = await bindFile(store, at("thin.onnx"), { scopes: { kjv: file } });
    await placed.write(at("placed.onnx"), { storage: "in-place" });
    expect(await logits(at("placed.onnx"))).toEqual(expected);
    await using beside = await bindFile(store, at("placed.onnx"));
    await beside.write(at("embedded-again.onnx"), { storage: "embedded" });
    await expectSame(at("embedded-again.onnx"), at("embedded.onnx"));
    await store.add([at("placed.onnx")], { as: "placed" });
    await store.export("placed", join(folder, "out"));
    await expectSame(join(folder, "out", "placed.onnx"), at("placed.onnx"));
  });

  test("binds weights on a web server by ranges, and fetches only where that is allowed", async () => {
    const { store, weights } = await checkpoints();
    const expected = await logits(join(family, "kjv", "decoder.onnx"));
    const server = await serveFiles(weights);
    const url = `${server.url}kjv.safetensors`;
    const at = (name: string): string => join(weights, name);
    await using program = await bind(store, "base", { method: "decoder", weights: url });
    expect(program.bindings.every(({ storage }) => storage.kind === "url" && storage.url === url)).toBe(true);
    const { size } = await program.write(at("web.onnx"), { storage: "in-place" });
    expect(size).toBeLessThan(200_000);
    expect(await thrown(bindFile(store, at("web.onnx")))).toMatchObject({ code: "unsupported" });
    await using remote = await bindFile(store, at("web.onnx"), { remote: true });
    await remote.write(at("fetched.onnx"), { storage: "embedded" });
    expect(await logits(at("fetched.onnx"))).toEqual(expected);
  });

  test("refuses checkpoints that do not fit, or lie elsewhere, and writes nothing", async () => {
    const { store, folder, weights } = await checkpoints();
    const attempt = async (file: string, out: string, map?: Record<string, string>): Promise<unknown> => {
      await using program = await bind(store, "base", { method: "decoder", weights: file, map });
      return await program.write(out, { storage: "in-place" });
    };
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

  test("refuses a symbolic program's scopes that are not given, or have other weights", async () => {
    const { store, weights } = await checkpoints();
    const at = (name: string): string => join(weights, name);
    await using program = await bind(store, "kjv", { method: "decoder" });
    await program.write(at("thin.onnx"), { storage: "symbolic", scope: "kjv" });
    expect(await thrown(bindFile(store, at("thin.onnx")))).toMatchObject({
      code: "not-found",
      path: at("thin.onnx"),
    });
    expect(await thrown(store.add([at("thin.onnx")]))).toMatchObject({ code: "not-found" });
    const few = memoryWeights({});
    expect(await thrown(bindFile(store, at("thin.onnx"), { scopes: { kjv: few } }))).toMatchObject({
      code: "missing-weight",
    });
    // Known digests are compared at once; others when the bytes pass.
    const other = await store.weights("base", { method: "decoder" });
    expect(await thrown(bindFile(store, at("thin.onnx"), { scopes: { kjv: other } }))).toMatchObject({
      code: "mismatch",
    });
    await writeFile(at("base.safetensors"), writeSafetensors(await storedTensors(store, "base", "decoder")));
    await using wrong = await bindFile(store, at("thin.onnx"), { scopes: { kjv: at("base.safetensors") } });
    for (const storage of ["embedded", "in-place"] as const) {
      expect(await thrown(wrong.write(at("x.onnx"), { storage }))).toMatchObject({ code: "corrupted" });
    }
    expect(await thrown(loadBound(store, wrong))).toMatchObject({ code: "corrupted" });
    expect(await readdir(weights)).not.toContain("x.onnx");
    expect(await thrown(program.write(at("y.onnx"), { storage: "symbolic", scope: "a/b" }))).toMatchObject({
      code: "usage",
    });
  });
});

describe("BoundProgram.load()", () => {
  test("runs over weights in files, in memory and on a web server: the same, bit for bit", async () => {
    const { store, weights } = await checkpoints();
    const server = await serveFiles(weights);
    const tensors = await storedTensors(store, "kjv", "decoder");
    const ids = new Uint8Array(BigInt64Array.of(1n, 37n, 82n, 5n).buffer);
    const run = async (session: Session): Promise<unknown> => {
      const { logits: values } = await session.run({
        input_ids: { dtype: "int64", shape: [1, 4], bytes: ids },
      });
      await session.release();
      return values;
    };
    const expected = await run(await runtimeOf(store).load("kjv", { method: "decoder" }));
    const sources: WeightRef[] = [
      "kjv",
      join(weights, "kjv.safetensors"),
      join(weights, "kjv.gguf"),
      `${server.url}kjv.safetensors`,
      memoryWeights(tensors),
    ];
    for (const source of sources) {
      await using program = await bind(store, "base", { method: "decoder", weights: source });
      const session = await loadBound(store, program);
      expect(session.cached).toBe(true);
      expect(await run(session)).toEqual(expected);
    }
    await using program = await bind(store, "kjv", { method: "decoder" });
    await program.write(join(weights, "thin.onnx"), { storage: "symbolic" });
    const scopes = { weights: memoryWeights(tensors) };
    await using file = await bindFile(store, join(weights, "thin.onnx"), { scopes });
    expect(await run(await loadBound(store, file))).toEqual(expected);
    expect(await readdir(join(store.path, "tmp")).catch(() => [])).toEqual([]);
  });
});
