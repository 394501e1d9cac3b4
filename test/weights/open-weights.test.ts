import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { memorySource } from "../../src/io/byte-source.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { convertWeights } from "../../src/operations/convert/convert.ts";
import { LocalStore } from "../../src/local-store/local-store.ts";
import type { Store } from "../../src/store/store.ts";
import type { TareStore } from "../../src/tare-store.ts";
import type { NumberTensor } from "../../src/tensor/tensor.ts";
import { hashWeight } from "../../src/weights/hash-weight.ts";
import { memoryWeights } from "../../src/weights/memory.ts";
import type { WeightRef } from "../../src/weights/open-ref.ts";
import { openWeights } from "../../src/weights/open-weights.ts";
import {
  type WeightBytes,
  weightBytes,
  type WeightLayout,
  type WeightSource,
} from "../../src/weights/weight-source.ts";
import { createSha256 } from "../../src/node/sha256.ts";
import { charlm } from "../support/charlm.ts";
import { serveFiles } from "../support/file-server.ts";
import { home } from "../support/home.ts";
import { mlirPath } from "../support/mlir.ts";
import { storedTensors } from "../support/stored-tensors.ts";
import { thrown } from "../support/thrown.ts";
import { attach } from "../../src/operations/mlir/attach.ts";
import { proposeRefit } from "../../src/operations/refit/propose-refit.ts";
import { refit } from "../../src/operations/refit/refit.ts";
import { loadBound } from "../support/runtime.ts";
import { bind } from "../../src/link/bind.ts";
import { describeModel } from "../../src/operations/describe.ts";

/** A source as a caller writes it: a class, whose members are on its prototype. */
class CallersWeights implements WeightSource {
  readonly #tensors: Readonly<Record<string, NumberTensor>>;
  readonly name = "the caller's";

  constructor(tensors: Readonly<Record<string, NumberTensor>>) {
    this.#tensors = tensors;
  }

  keys(): readonly string[] {
    return Object.keys(this.#tensors);
  }

  layout(key: string): WeightLayout | undefined {
    const tensor = this.#tensors[key];
    return tensor && { ...tensor, length: tensor.bytes.byteLength, digest: undefined };
  }

  async open(key: string): Promise<WeightBytes> {
    return weightBytes(memorySource((this.#tensors[key] as NumberTensor).bytes));
  }
}

let family: string;
beforeAll(async () => {
  family = await charlm();
});

/** A thin program of MLIR's fixtures, and weights for it. */
const THIN = mlirPath("small-lowered-thin.mlir");
const floats = (value: number): NumberTensor => {
  return { dtype: "float32", shape: [4], bytes: new Uint8Array(new Float32Array(4).fill(value).buffer) };
};
const MLIR_WEIGHTS = {
  scale: floats(0.5),
  mask: { dtype: "bool", shape: [3], bytes: Uint8Array.of(1, 0, 1) },
  "layer.0.shift": floats(0.25),
  nibbles: { dtype: "uint8", shape: [5], bytes: new Uint8Array(5).fill(17) },
} satisfies Record<string, NumberTensor>;

/** References of every kind to the same weights. */
async function references(
  store: TareStore,
  folder: string,
  name: string,
  tensors: Readonly<Record<string, NumberTensor>>,
): Promise<[kind: string, ref: WeightRef][]> {
  const path = join(folder, `${name}.safetensors`);
  await writeFile(path, writeSafetensors(tensors));
  await mkdir(join(folder, `${name}-folder`));
  await writeFile(join(folder, `${name}-folder`, "model.safetensors"), writeSafetensors(tensors));
  await store.add([path], { as: name });
  const { url } = await serveFiles(folder);
  return [
    ["a model of the store", name],
    ["a file", path],
    ["a folder", join(folder, `${name}-folder`)],
    ["a URL", `${url}${name}.safetensors`],
    ["a state dict", tensors],
    ["a source", memoryWeights(tensors)],
    ["a class", new CallersWeights(tensors)],
  ];
}

describe("a reference to weights", () => {
  test("is the same to link, run, convert, refit and attach, whatever its kind", async () => {
    const { store, folder } = await home({ workers: 1 });
    for (const model of ["base", "kjv"]) await store.add([join(family, model)], { threads: 1 });
    const ids = new Uint8Array(BigInt64Array.of(1n, 37n, 82n, 5n).buffer);
    const inputs = { input_ids: { dtype: "int64", shape: [1, 4], bytes: ids } } as const;
    const results = new Map<string, Set<string>>();
    const note = (verb: string, result: unknown): void => {
      results.set(verb, (results.get(verb) ?? new Set()).add(JSON.stringify(result)));
    };
    const decoder = await storedTensors(store, "kjv", "decoder");
    for (const [kind, ref] of await references(store, folder, "tuned", decoder)) {
      const out = join(folder, `link ${kind}.onnx`);
      await using program = await bind(store, "base", { method: "decoder", weights: ref });
      await program.write(out, { storage: "embedded" });
      note("link", createSha256Of(await readFile(out)));
      const session = await loadBound(store, program);
      const { logits } = await session.run(inputs);
      note("run", createSha256Of((logits as NumberTensor).bytes));
      await session.release();
      await using weights = await store.openWeights(ref);
      const converted = join(folder, `convert ${kind}.safetensors`);
      await convertWeights(weights, converted);
      note("convert", createSha256Of(await readFile(converted)));
      const as = `refit ${kind}`.replaceAll(" ", "-");
      const { bound } = await refit(store, "tuned", ref, { as });
      const { methods } = await describeModel(store, as);
      note("refit", [bound, methods[0]?.weights.map((weight) => weight.digest)]);
    }
    for (const [kind, ref] of await references(store, folder, "mlir", MLIR_WEIGHTS)) {
      const out = join(folder, `attach ${kind}.mlir`);
      expect(await attach(store, THIN, out, { from: ref })).toMatchObject({ weights: 4, unused: [] });
      note("attach", createSha256Of(await readFile(out)));
    }
    expect([...results].map(([verb, different]) => [verb, different.size])).toEqual(
      ["link", "run", "convert", "refit", "attach"].map((verb) => [verb, 1]),
    );
  });
});

describe("openWeights()", () => {
  const one = (value: number): Record<string, NumberTensor> => ({ w: floats(value), v: floats(0) });
  const digest = async (ref: WeightRef, options: Parameters<typeof openWeights>[1] = {}): Promise<string> => {
    await using weights = await openWeights(ref, options);
    return await hashWeight(weights, "w", { createDigest: createSha256 });
  };
  const digestOf = (value: number): string => createSha256Of(floats(value).bytes);

  test("takes a model of the store before a file of its name, and that before a scope", async () => {
    const { store, folder } = await home();
    const path = join(folder, "w::w.safetensors");
    await writeFile(path, writeSafetensors(one(1)));
    const scopes = { [join(folder, "w")]: memoryWeights(one(3)) };
    expect(await digest(path, { scopes })).toBe(digestOf(1));
    await writeFile(join(folder, "other.safetensors"), writeSafetensors(one(2)));
    await store.add([join(folder, "other.safetensors")], { as: "other" });
    const local = await LocalStore.open(store.path);
    const { names } = local;
    const renamed: Store = {
      name: local.name,
      createDigest: () => local.createDigest(),
      blobs: local.blobs,
      names: {
        list: async () =>
          (await names.list()).map((tag) => (tag.name === "other" ? { ...tag, name: path } : tag)),
        resolve: async (name) => names.resolve(name === path ? "other" : name),
        tag: async (name, model, options) => names.tag(name, model, options),
        untag: async (gone) => names.untag(gone),
      },
    };
    expect(await digest(path, { store: renamed })).toBe(digestOf(2));
  });

  test("opens one weight of a scope, which is a reference itself or given", async () => {
    const { store, folder } = await home();
    const path = join(folder, "m.safetensors");
    await writeFile(path, writeSafetensors(one(1)));
    await store.add([path], { as: "m" });
    const { url } = await serveFiles(folder);
    for (const scope of ["m", path, `${url}m.safetensors`]) {
      await using weights = await store.openWeights(`${scope}::w`);
      expect(weights.keys()).toEqual(["w"]);
      expect(await hashWeight(weights, "w", { createDigest: createSha256 })).toBe(digestOf(1));
    }
    expect(await digest("m::w", { scopes: { m: one(2) } })).toBe(digestOf(2));
    expect(await thrown(store.openWeights("m::x"))).toMatchObject({ code: "missing-weight", tensor: "x" });
    expect(await thrown(store.openWeights("no::w"))).toMatchObject({ code: "not-found", path: "no" });
  });

  test("says what was tried for a reference that is nothing", async () => {
    const { store, folder } = await home();
    await store.add([join(family, "base")], { threads: 1 });
    const verbs = [
      () => store.openWeights("nothing"),
      () => bind(store, "base", { method: "decoder", weights: "nothing" }),
      () => refit(store, "base", "nothing", { as: "x" }),
      () => proposeRefit(store, "base", "nothing"),
      () => attach(store, THIN, join(folder, "x.mlir"), { from: "nothing" }),
    ];
    for (const verb of verbs) {
      expect(await thrown(verb)).toMatchObject({
        name: "LinkError",
        code: "not-found",
        message:
          'Cannot find weights "nothing": no model of the store has this name, no file or folder has this path, ' +
          "and it is no URL and no scope::key",
        hint: expect.stringContaining("http(s)"),
      });
    }
  });

  test("calls a caller's class, and reads nothing but its four members", async () => {
    expect(await digest(new CallersWeights(one(4)))).toBe(digestOf(4));
    const short = new CallersWeights(one(5));
    short.open = async () => weightBytes(memorySource(new Uint8Array(3)));
    expect(await thrown(digest(short))).toMatchObject({ code: "size-mismatch", tensor: "w" });
  });

  test("refuses tensors of strings, and takes those that are called as a source's members are", async () => {
    const strings = { s: { dtype: "string", shape: [1], strings: ["x"] } } as const;
    expect(await thrown(openWeights(strings))).toMatchObject({ code: "unsupported", tensor: "s" });
    await using weights = await openWeights({ open: floats(1), keys: floats(2), layout: floats(3) });
    expect(weights.keys()).toEqual(["open", "keys", "layout"]);
  });
});

function createSha256Of(bytes: Uint8Array): string {
  const hash = createSha256();
  hash.update(bytes);
  return hash.digest();
}
