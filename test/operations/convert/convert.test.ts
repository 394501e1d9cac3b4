import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { charlmGguf } from "../../../fixtures/charlm/rebuild-gguf.mjs";
import { streamWeight } from "../../../src/weights/stream-weight.ts";
import type { WeightSource } from "../../../src/weights/weight-source.ts";
import { memorySource } from "../../../src/io/byte-source.ts";
import { findZipDirectory, zipErrors } from "../../../src/encodings/zip/directory.ts";
import { readZip } from "../../../src/encodings/zip/read.ts";
import { memoryWeights } from "../../../src/weights/memory.ts";
import { parseNpz, writeNpz } from "../../../src/formats/npy/npz.ts";
import { descrOf } from "../../../src/formats/npy/schema.ts";
import { writeNpy } from "../../../src/formats/npy/write.ts";
import { torchTypeOf } from "../../../src/formats/pytorch/globals.ts";
import { parseSafetensors } from "../../../src/formats/safetensors/parse.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { convertWeights } from "../../../src/operations/convert/convert.ts";
import { parseRenameRule, renamed } from "../../../src/operations/convert/rename.ts";
import { openWeights } from "../../../src/weights/open-weights.ts";
import { type DType, DTYPE_BITS, tensorBytes } from "../../../src/tensor/dtype.ts";
import type { NumberTensor } from "../../../src/tensor/tensor.ts";
import { counting } from "../../support/bytes.ts";
import { home } from "../../support/home.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const BASE = fileURLToPath(new URL("../../../fixtures/charlm/base.safetensors", import.meta.url));
const CONTAINERS = ["safetensors", "gguf", "irpa", "params", "ptd", "npz", "pt"] as const;

/** Every weight's type, shape and sha256. */
async function described(data: WeightSource): Promise<Record<string, unknown>> {
  const all: [string, unknown][] = [];
  for (const key of [...data.keys()].sort()) {
    const hash = createHash("sha256");
    for await (const chunk of streamWeight(data, key)) hash.update(chunk);
    const { dtype, shape } = data.layout(key) ?? {};
    all.push([key, { dtype, shape, sha256: hash.digest("hex") }]);
  }
  return Object.fromEntries(all);
}

async function describedFile(path: string): Promise<Record<string, unknown>> {
  await using data = await openWeights(path);
  return await described(data);
}

describe("convertWeights()", () => {
  test("keeps every weight exactly, from container to container and back", async () => {
    const folder = await temporaryFolder();
    const expected = await describedFile(BASE);
    let last = BASE;
    for (const kind of [...CONTAINERS, "safetensors"]) {
      const path = join(
        folder,
        `${CONTAINERS.indexOf(kind as "gguf")}-${(await readdir(folder)).length}.${kind}`,
      );
      await using data = await openWeights(last);
      const { weights } = await convertWeights(data, path);
      expect(weights).toBe(Object.keys(expected).length);
      expect(await describedFile(path), kind).toEqual(expected);
      last = path;
    }
    const tensors = parseSafetensors(new Uint8Array(await readFile(BASE)), "base");
    expect((await readFile(last)).equals(Buffer.from(writeSafetensors(tensors)))).toBe(true);
  });

  test("takes models of a store, and says how far it is", async () => {
    const { store, folder } = await home();
    await store.add([await charlmGguf("kjv")], { as: "kjv" });
    const path = join(folder, "kjv.irpa");
    const told: number[] = [];
    const { size } = await convertWeights(await store.weights("kjv"), path, {
      onProgress: ({ done, total }) => told.push(done / total),
    });
    expect(told.at(-1)).toBe(1);
    expect((await readFile(path)).byteLength).toBe(size);
    expect(await describedFile(path)).toEqual(await describedFile(await charlmGguf("kjv")));
  });

  test("refuses by name what a container cannot hold, and leaves nothing", async () => {
    const folder = await temporaryFolder();
    const from = join(folder, "x.safetensors");
    await writeFile(
      from,
      writeSafetensors({ ok: one("float32", 4), odd: one("complex64", 8), f8: one("float8_e4m3fn", 1) }),
    );
    await using data = await openWeights(from);
    await expect(convertWeights(data, join(folder, "out.gguf"))).rejects.toMatchObject({
      code: "unsupported",
      tensor: expect.stringMatching(/odd|f8/),
    });
    await expect(convertWeights(data, join(folder, "out.bin"))).rejects.toMatchObject({ code: "usage" });
    await expect(convertWeights(data, from)).rejects.toMatchObject({ code: "exists" });
    const clash = [parseRenameRule("*=same")];
    await expect(convertWeights(data, join(folder, "o.irpa"), { rename: clash })).rejects.toMatchObject({
      code: "duplicate",
    });
    await expect(
      convertWeights(data, join(folder, "o.irpa"), { signal: AbortSignal.abort() }),
    ).rejects.toThrow();
    expect(await readdir(folder)).toEqual(["x.safetensors"]);
  });
});

describe("convertWeights() to NumPy's containers", () => {
  const NUMBERS = Object.keys(DTYPE_BITS).filter((dtype) => descrOf(dtype as DType)) as DType[];

  test("writes what numpy.savez writes, byte for byte", async () => {
    const bytes = await readFile(new URL("../../../fixtures/numpy/native.npz", import.meta.url));
    const arrays = Object.entries(parseNpz(bytes, "native.npz"));
    const numbers = arrays.flatMap(([name, tensor]) =>
      tensor.dtype === "string" ? [] : [[name, tensor] as const],
    );
    expect(numbers.length).toBe(arrays.length - 1);
    const path = join(await temporaryFolder(), "out.npz");
    const { size } = await convertWeights(memoryWeights(Object.fromEntries(numbers)), path);
    const written = await readFile(path);
    expect(written.byteLength).toBe(size);
    // All but the strings at the end, which are no weights.
    const end = bytes.indexOf("words.npy") - 30;
    expect(written.subarray(0, end).equals(bytes.subarray(0, end))).toBe(true);
    expect(written.equals(Buffer.from(writeNpz(Object.fromEntries(numbers))))).toBe(true);
  });

  test("writes one weight as .npy, and refuses several", async () => {
    const folder = await temporaryFolder();
    const w = { dtype: "float32", shape: [], bytes: counting(4) } as const;
    const path = join(folder, "w.npy");
    await convertWeights(memoryWeights({ w }), path);
    expect((await readFile(path)).equals(Buffer.from(writeNpy(w)))).toBe(true);
    for (const weights of [{}, { w, v: w }]) {
      await expect(convertWeights(memoryWeights(weights), join(folder, "o.npy"))).rejects.toMatchObject({
        code: "unsupported",
        message: `Cannot write ${Object.keys(weights).length} weights as .npy: it holds one array`,
      });
    }
  });

  test.each(["bfloat16", "float8_e4m3fn", "int4", "q4_0", "float6_e2m3"] as const)(
    "refuses %s by name",
    async (dtype) => {
      const folder = await temporaryFolder();
      const bytes = new Uint8Array(tensorBytes(dtype, [32]) ?? 0);
      const data = memoryWeights({ ok: one("float32", 4), odd: { dtype, shape: [32], bytes } });
      await expect(convertWeights(data, join(folder, "o.npz"))).rejects.toMatchObject({
        code: "unsupported",
        tensor: "odd",
        message: `Cannot write tensor "odd" as .npy: NumPy has no ${dtype}`,
      });
      const alone = memoryWeights({ odd: { dtype, shape: [32], bytes } });
      await expect(convertWeights(alone, join(folder, "o.npy"))).rejects.toMatchObject({ tensor: "odd" });
      expect(await readdir(folder)).toEqual([]);
    },
  );

  test("gives back any weights, exactly", async () => {
    const folder = await temporaryFolder();
    let nth = 0;
    await fc.assert(
      fc.asyncProperty(weightsOf(NUMBERS), async (weights) => {
        const path = join(folder, `${nth++}.npz`);
        await convertWeights(memoryWeights(weights), path);
        expect(await describedFile(path)).toEqual(await described(memoryWeights(weights)));
      }),
      { numRuns: 50 },
    );
  });

  test("refuses names that zip or Unicode do not have", async () => {
    const folder = await temporaryFolder();
    for (const name of ["a\0b", "half \ud800"]) {
      const data = memoryWeights({ [name]: one("float32", 4) });
      await expect(convertWeights(data, join(folder, "o.npz"))).rejects.toMatchObject({
        code: "bad-name",
        tensor: name,
      });
    }
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("convertWeights() to a PyTorch checkpoint", () => {
  const NUMBERS = Object.keys(DTYPE_BITS).filter((dtype) => torchTypeOf(dtype as DType)) as DType[];
  const FIXTURES = new URL("../../../fixtures/pytorch/", import.meta.url);

  test("writes what torch.save writes, byte for byte but for the last file", async () => {
    const path = join(await temporaryFolder(), "state-dict.pt");
    await using data = await openWeights(fileURLToPath(new URL("state-dict.pt", FIXTURES)));
    await convertWeights(data, path);
    const [ours, theirs] = await Promise.all([readFile(path), readFile(new URL("state-dict.pt", FIXTURES))]);
    const [own, other] = [await readZip(memorySource(ours)), await readZip(memorySource(theirs))];
    const last = other.pop();
    expect(last?.name).toBe("state-dict/.data/serialization_id");
    expect(own).toEqual(other);
    const end = last?.local ?? 0;
    expect(ours.subarray(0, end).equals(theirs.subarray(0, end))).toBe(true);
    const directory = findZipDirectory(theirs, 0, zipErrors("theirs"));
    const listed = directory.size - 46 - Buffer.byteLength(last?.name ?? "");
    const theirList = theirs.subarray(directory.offset, directory.offset + listed);
    expect(ours.subarray(end, end + listed).equals(theirList)).toBe(true);
    expect(ours.byteLength - end - listed).toBe(theirs.byteLength - directory.offset - directory.size);
  });

  test.each([
    ["model.v2.pth", "model.v2"],
    ["größe.pt", "archive"],
    ["...pt", "archive"],
    ["a b.PT", "a b"],
  ])("calls the folder in %s %s, as PyTorch does", async (name, folder) => {
    const path = join(await temporaryFolder(), name);
    await convertWeights(memoryWeights({ w: one("float32", 4) }), path);
    const members = await readZip(memorySource(await readFile(path)));
    expect(members.map((member) => member.name.split("/")[0])).toEqual(members.map(() => folder));
    expect(members.every(({ start }) => start % 64 === 0)).toBe(true);
  });

  test("gives back any weights, exactly", async () => {
    const folder = await temporaryFolder();
    let nth = 0;
    await fc.assert(
      fc.asyncProperty(weightsOf(NUMBERS), async (weights) => {
        const path = join(folder, `${nth++}.pt`);
        await convertWeights(memoryWeights(weights), path);
        expect(await describedFile(path)).toEqual(await described(memoryWeights(weights)));
      }),
      { numRuns: 50 },
    );
  });

  test.each([0, 1, 999, 1000, 1001, 2000])("gives back %s weights", async (count) => {
    const path = join(await temporaryFolder(), "x.pt");
    const names = Array.from({ length: count }, (_, nth) => `layers.${nth}`);
    const weights = Object.fromEntries(
      names.map((name, nth) => [name, { ...one("float32", 4), bytes: counting(4, nth) }]),
    );
    await convertWeights(memoryWeights(weights), path);
    expect(await describedFile(path)).toEqual(await described(memoryWeights(weights)));
  });

  test("refuses by name what PyTorch lacks, and names that are none", async () => {
    const folder = await temporaryFolder();
    for (const dtype of ["int4", "q4_0", "float6_e2m3", "float4_e2m1", "iq4_xs"] as const) {
      const shape = [256];
      const odd = { dtype, shape, bytes: new Uint8Array(tensorBytes(dtype, shape) ?? 0) };
      const data = memoryWeights({ ok: one("float32", 4), odd });
      await expect(convertWeights(data, join(folder, "o.pt"))).rejects.toMatchObject({
        code: "unsupported",
        tensor: "odd",
        message: `Cannot write tensor "odd" as a checkpoint: PyTorch has no ${dtype}`,
      });
    }
    for (const name of ["", "x".repeat(4097)]) {
      const data = memoryWeights({ [name]: one("float32", 4) });
      await expect(convertWeights(data, join(folder, "o.pt"))).rejects.toMatchObject({ code: "bad-name" });
    }
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("convertWeights() to a tensor cache", () => {
  const names = [
    "bool",
    "int8",
    "uint32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "float8_e4m3fn",
  ];

  test.each(["tensor-cache.json", "ndarray-cache.json"])(
    "gives back any weights, exactly: %s",
    async (list) => {
      const folder = await temporaryFolder();
      let nth = 0;
      await fc.assert(
        fc.asyncProperty(weightsOf(names as DType[]), async (weights) => {
          const path = join(folder, String(nth++), list);
          const result = await convertWeights(memoryWeights(weights), path);
          const files = await readdir(join(path, ".."));
          expect(files.sort()).toEqual(
            Object.keys(weights).length === 0 ? [list] : ["params_shard_0.bin", list].sort(),
          );
          const sizes = await Promise.all(
            files.map(async (file) => (await readFile(join(path, "..", file))).length),
          );
          expect(result).toEqual({
            path,
            weights: Object.keys(weights).length,
            size: sizes.reduce((a, b) => a + b),
            skipped: [],
            notes: [],
          });
          if (files.length > 1)
            expect(await describedFile(path)).toEqual(await described(memoryWeights(weights)));
        }),
        { numRuns: 30 },
      );
    },
  );

  test("writes what TVM writes, byte for byte but for a float's spelling", async () => {
    const theirs = new URL("../../../fixtures/tvm/plain/", import.meta.url);
    const path = join(await temporaryFolder(), "cache", "tensor-cache.json");
    await using data = await openWeights(fileURLToPath(new URL("tensor-cache.json", theirs)));
    await convertWeights(data, path);
    const list = await readFile(new URL("tensor-cache.json", theirs), "utf8");
    expect(await readFile(path, "utf8")).toBe(list.replace("592.0", "592"));
    for (const name of (await readdir(theirs)).filter((each) => each.endsWith(".bin"))) {
      expect((await readFile(join(path, "..", name))).equals(await readFile(new URL(name, theirs)))).toBe(
        true,
      );
    }
  });

  test("has shards of 32 MiB at most, but for tensors that are larger, each with its MD5", async () => {
    const sizes = { a: 20, b: 11, large: 40, half: 16, c: 2, d: 14, e: 1 };
    const weights = Object.fromEntries(
      Object.entries(sizes).map(([name, mib], nth): [string, NumberTensor] => {
        const bytes = new Uint8Array(mib * 1024 * 1024).fill(nth);
        return [name, { dtype: "uint8", shape: [mib, bytes.length / mib], bytes }];
      }),
    );
    const path = join(await temporaryFolder(), "deep", "cache", "tensor-cache.json");
    const told: number[] = [];
    await convertWeights(memoryWeights(weights), path, {
      onProgress: ({ done, total }) => told.push(done / total),
    });
    expect(told.at(-1)).toBe(1);
    const list = JSON.parse(await readFile(path, "utf8"));
    expect(list.metadata).toEqual({ ParamSize: 7, ParamBytes: 104 * 2 ** 20, BitsPerParam: 8 });
    const shards = list.records as {
      dataPath: string;
      nbytes: number;
      md5sum: string;
      records: { name: string }[];
    }[];
    expect(shards.map(({ records }) => records.map(({ name }) => name))).toEqual([
      ["large"],
      ["half"],
      ["a", "b"],
      ["c", "d", "e"],
    ]);
    for (const [nth, { dataPath, nbytes, md5sum }] of shards.entries()) {
      const bytes = await readFile(join(path, "..", dataPath));
      expect(dataPath).toBe(`params_shard_${nth}.bin`);
      expect(bytes.length).toBe(nbytes);
      expect(createHash("md5").update(bytes).digest("hex")).toBe(md5sum);
    }
    expect(await describedFile(path)).toEqual(await described(memoryWeights(weights)));
  });

  test("refuses a folder that has something in it, and dtypes that TVM has not", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "x"), "");
    const data = memoryWeights({ w: one("float32", 4) });
    await expect(convertWeights(data, join(folder, "tensor-cache.json"))).rejects.toMatchObject({
      code: "exists",
      path: folder,
    });
    for (const dtype of ["complex64", "int4", "q8_0", "float8_e8m0"] as const) {
      const odd = { dtype, shape: [32], bytes: new Uint8Array(tensorBytes(dtype, [32]) ?? 0) };
      const into = convertWeights(memoryWeights({ odd }), join(folder, "new", "tensor-cache.json"));
      await expect(into).rejects.toMatchObject({
        code: "unsupported",
        tensor: "odd",
        message: `Cannot write tensor "odd" as a tensor cache: TVM has no ${dtype}`,
      });
    }
    const signal = AbortSignal.abort();
    await expect(
      convertWeights(data, join(folder, "new", "tensor-cache.json"), { signal }),
    ).rejects.toThrow();
    expect(await readdir(folder)).toEqual(["x"]);
  });
});

describe("renamed()", () => {
  test.each([
    ["model.*=*", "model.a.b", "a.b"],
    ["model.*=*", "a.model.b", "a.model.b"],
    ["*.attn.*.weight=blk.*.attn_*.weight", "3.attn.q.weight", "blk.3.attn_q.weight"],
    ["a=b", "a", "b"],
    ["a=b", "aa", "aa"],
    ["*=x.*", "", "x."],
    ["a*a=*", "aa", ""],
    ["a*a=*", "a", "a"],
  ])("by %s makes %j %j", (rule, name, expected) => {
    expect(renamed(name, [parseRenameRule(rule)])).toBe(expected);
  });

  test.each(["", "a", "=b", "a=", "a=*"])("refuses the rule %j", (rule) => {
    expect(() => parseRenameRule(rule)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});

/** Weights of some dtypes, of any shape and name. */
function weightsOf(dtypes: readonly DType[]): fc.Arbitrary<Record<string, NumberTensor>> {
  const weight = fc
    .tuple(fc.constantFrom(...dtypes), fc.array(fc.nat(4), { maxLength: 5 }), fc.nat(250))
    .map(([dtype, shape, start]): NumberTensor => {
      return { dtype, shape, bytes: counting(tensorBytes(dtype, shape) ?? 0, start) };
    });
  const name = fc.oneof(
    fc.string({ unit: "grapheme", minLength: 1 }),
    fc.constantFrom("a/b", "größe", "0", "../x"),
  );
  return fc
    .uniqueArray(fc.tuple(name, weight), { selector: ([name]) => name, maxLength: 6 })
    .map((all) => Object.fromEntries(all));
}

function one(dtype: "float32" | "complex64" | "float8_e4m3fn", bytes: number) {
  return { dtype, shape: [1], bytes: new Uint8Array(bytes).fill(1) } as const;
}
