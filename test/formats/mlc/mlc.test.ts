import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { type CacheSpec, planTensorCache } from "../../../src/formats/mlc/write.ts";
import { mlc } from "../../../src/formats/mlc/format.ts";
import { isModelFile, recognizeFormat } from "../../../src/formats/registry.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { openStore } from "../../../src/tare-store.ts";
import { openModel } from "../../../src/node/open-model.ts";
import { counting } from "../../support/bytes.ts";
import { type Files, readFiles } from "../../support/read-files.ts";
import { countingSource } from "../../support/counting-source.ts";
import { LONG } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { formatError } from "../../support/format-error.ts";
import { thrown } from "../../support/thrown.ts";

const FOLDER = fileURLToPath(new URL("../../../fixtures/tvm/", import.meta.url));
const EXPECTED = JSON.parse(readFileSync(join(FOLDER, "expected.json"), "utf8")) as Record<
  string,
  Record<string, { readonly dtype: string; readonly shape: readonly number[]; readonly sha256: string }>
>;
const CACHES = [
  ["raw", "tensor-cache.json"],
  ["plain", "tensor-cache.json"],
  ["bf16", "ndarray-cache.json"],
  ["shards", "tensor-cache.json"],
] as const;

function filesIn(folder: string): Files {
  const names = readdirSync(join(FOLDER, folder));
  return Object.fromEntries(
    names.map((name) => [name, new Uint8Array(readFileSync(join(FOLDER, folder, name)))]),
  );
}

/** What float32 numbers are that have only the bytes that bfloat16 has. */
function widened(bytes: Uint8Array): Uint8Array {
  const wide = new Uint8Array(bytes.length * 2);
  for (let at = 0; at < bytes.length; at += 2) wide.set(bytes.subarray(at, at + 2), at * 2 + 2);
  return wide;
}

interface Shard {
  dataPath: unknown;
  format: unknown;
  nbytes: unknown;
  records: unknown;
}
interface Item {
  name: unknown;
  shape: unknown;
  dtype: unknown;
  format: unknown;
  nbytes: unknown;
  byteOffset: unknown;
}

function items(): [Item, Item] {
  const plain = { dtype: "float32", format: "raw", shape: [2, 2], nbytes: 16 };
  return [
    { ...plain, name: "a", byteOffset: 0 },
    { ...plain, name: "b", byteOffset: 16 },
  ];
}

/** A cache of two tensors, after a change. */
function small(change: (shard: Shard, records: [Item, Item]) => void = () => {}, shards = 1): Files {
  const records = items();
  const shard: Shard = { dataPath: "s.bin", format: "raw-shard", nbytes: 32, records };
  change(shard, records);
  const list = { metadata: {}, records: Array.from({ length: shards }, () => shard) };
  return {
    "tensor-cache.json": new TextEncoder().encode(JSON.stringify(list)),
    "s.bin": counting(32),
  };
}

const LIST = ["tensor-cache.json"];

describe("readTensorCache()", () => {
  test.each(CACHES)("finds in %s what TVM's own reader finds", async (folder, list) => {
    const files = filesIn(folder);
    const draft = await readFiles(mlc, files, [list]);
    const found = (draft.methods[0]?.weights ?? []).map(({ name, dtype, shape, at }) => {
      const { path } = draft.files[at.file] as (typeof draft.files)[number];
      let bytes = (files[path] as Uint8Array).subarray(at.offset, at.offset + at.length);
      const narrow = dtype === "bfloat16" && EXPECTED[folder]?.[name]?.dtype === "float32";
      if (narrow) bytes = widened(bytes);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      return [name, { dtype: narrow ? "float32" : dtype, shape, sha256 }];
    });
    expect(Object.fromEntries(found)).toEqual(EXPECTED[folder]);
    expect(draft.notes ?? []).toEqual(
      folder === "raw" || folder === "plain"
        ? []
        : [`"${list}" stores float32 tensors as bfloat16, the dtype of their weights: 1`],
    );
  });

  test("reads nothing of the shards", async () => {
    const files = filesIn("shards");
    const sources = Object.entries(files).map(
      ([name, bytes]) => [name, countingSource(memorySource(bytes, name))] as const,
    );
    const byName = new Map(sources);
    const source = byName.get("tensor-cache.json");
    if (!source) throw new Error("no list");
    await mlc.read([{ path: "tensor-cache.json", source }], { open: async (path) => byName.get(path) });
    expect(sources.filter(([, { bytes }]) => bytes > 0).map(([name]) => name)).toEqual(["tensor-cache.json"]);
  });

  test("keeps tensors of other types as bytes, and says so", async () => {
    const files = small((_, [a]) => {
      a.dtype = "int4";
    });
    const draft = await readFiles(mlc, files, LIST);
    expect(draft.methods[0]?.weights[0]).toMatchObject({ name: "a", dtype: "uint8", shape: [16] });
    expect(draft.notes).toEqual([
      'Tensor "a" is of dtype "int4", which tare does not know: kept as plain bytes',
    ]);
  });

  test.each<[string, string, string, (shard: Shard, records: [Item, Item]) => void]>([
    ["a path that leads outside", "unsafe-path", "plain path", (shard) => (shard.dataPath = "../s.bin")],
    ["an absolute path", "unsafe-path", "plain path", (shard) => (shard.dataPath = "/etc/passwd")],
    ["no path", "malformed", "no dataPath", (shard) => (shard.dataPath = 3)],
    ["a shard that is not there", "not-found", "is missing", (shard) => (shard.dataPath = "t.bin")],
    ["a shard that is the list", "malformed", "a list itself", (shard) => (shard.dataPath = LIST[0])],
    ["a shard of another format", "unsupported", '"gz"', (shard) => (shard.format = "gz")],
    ["a shard of another size", "size-mismatch", "has 32 bytes, not 33", (shard) => (shard.nbytes = 33)],
    ["a shard of no size", "malformed", "no number of bytes", (shard) => (shard.nbytes = -1)],
    ["no records", "malformed", "no list of records", (shard) => (shard.records = {})],
    ["a record that is none", "malformed", "has no name", (shard) => (shard.records = [null])],
    ["a name twice", "duplicate", 'tensor "a"', (_, [, b]) => (b.name = "a")],
    ["no dtype", "malformed", "no dtype", (_, [a]) => (a.dtype = null)],
    ["a record of another format", "unsupported", '"zip"', (_, [a]) => (a.format = "zip")],
    ["a broken shape", "malformed", "whole numbers", (_, [a]) => (a.shape = [2, -2])],
    ["a long shape", "malformed", "up to 64", (_, [a]) => (a.shape = Array.from({ length: 65 }, () => 1))],
    ["a fraction", "malformed", "whole numbers", (_, [a]) => (a.byteOffset = 0.5)],
    ["a size of another shape", "size-mismatch", "takes 12 bytes", (_, [a]) => (a.shape = [3])],
    [
      "float32 narrowed, of float32's size",
      "size-mismatch",
      "bfloat16 takes 8",
      (_, [a]) => (a.format = "f32-to-bf16"),
    ],
    ["tensors over one another", "malformed", 'inside tensor "a"', (_, [, b]) => (b.byteOffset = 12)],
    ["a tensor past the end", "malformed", "past the end", (_, [, b]) => (b.byteOffset = 2 ** 52)],
  ])("refuses %s", async (_, code, reason, change) => {
    const error = await thrown(readFiles(mlc, small(change), LIST));
    expect(error.code).toBe(code);
    expect(error.message).toContain(reason);
  });

  test("reads a list of hundreds of thousands of tensors, with a note of each", LONG, async () => {
    const records = Array.from({ length: 200_000 }, (_, nth) => {
      return { name: `${nth}`, dtype: "int4", format: "raw", shape: [0], nbytes: 0, byteOffset: 0 };
    });
    const draft = await readFiles(
      mlc,
      small((shard) => (shard.records = records)),
      LIST,
    );
    expect(draft.notes).toHaveLength(200_000);
  });

  test("refuses a shard that stands twice, keys that do, and what is no list", async () => {
    expect((await thrown(readFiles(mlc, small(undefined, 2), LIST))).code).toBe("duplicate");
    const text = new TextEncoder();
    for (const [json, code] of [
      ['{"records":[],"records":[]}', "duplicate"],
      ['{"metadata":{}}', "malformed"],
      ["[]", "malformed"],
      ["{", "malformed"],
    ] as const) {
      expect((await thrown(readFiles(mlc, { "tensor-cache.json": text.encode(json) }))).code).toBe(code);
    }
    expect((await thrown(readFiles(mlc, { "tensor-cache.json": Uint8Array.of(0xff) }))).code).toBe(
      "malformed",
    );
  });
});

describe("planTensorCache()", () => {
  test("puts tensors into the shards that TVM puts them into", () => {
    const list = JSON.parse(new TextDecoder().decode(filesIn("shards")["tensor-cache.json"])) as {
      records: { dataPath: string; nbytes: number; records: { name: string; byteOffset: number }[] }[];
    };
    const sizes = { a: 1000, big: 1500, b: 18 };
    const specs = Object.entries(sizes).map(([name, length]): CacheSpec => {
      return { name, dtype: "uint8", shape: [length], length };
    });
    const shards = planTensorCache(specs, 2048);
    expect(
      shards.map(({ name, size, records }) => {
        return [name, size, records.map(({ spec, offset }) => [spec.name, offset])];
      }),
    ).toEqual(
      list.records.map(({ dataPath, nbytes, records }) => {
        return [dataPath, nbytes, records.map(({ name, byteOffset }) => [name, byteOffset])];
      }),
    );
  });

  test("keeps tensors without elements, alone too, and refuses shapes that TVM has not", () => {
    const none: CacheSpec = { name: "none", dtype: "int8", shape: [0], length: 0 };
    expect(planTensorCache([none])).toMatchObject([{ size: 0, records: [{ offset: 0 }] }]);
    expect(planTensorCache([])).toEqual([]);
    const long = { ...none, shape: Array.from({ length: 65 }, () => 1) };
    expect(formatError(() => planTensorCache([long]))).toMatchObject({ code: "unsupported", tensor: "none" });
  });
});

describe("tensor caches", () => {
  test("are known by their whole names alone", async () => {
    const source = memorySource(new Uint8Array(0));
    expect(await recognizeFormat({ path: "x/tensor-cache.json", source })).toBe(mlc);
    expect(await recognizeFormat({ path: "ndarray-cache.json", source })).toBe(mlc);
    for (const name of [
      "config.json",
      "my-tensor-cache.json",
      "tensor-cache-b16.json",
      "params_shard_0.bin",
    ]) {
      expect(isModelFile(name)).toBe(false);
    }
  });

  test("come back byte for byte, companions too, and share with safetensors files", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    for (const [name] of CACHES) {
      const model = join(folder, "models", name);
      await cp(join(FOLDER, name), model, { recursive: true });
      await writeFile(join(model, "mlc-chat-config.json"), '{"model_type": "llama"}');
      await store.add([model], { as: name });
      await store.export(name, join(folder, "out", name));
      const files = (await readdir(model)).sort();
      expect((await readdir(join(folder, "out", name))).sort()).toEqual(files);
      for (const file of files) {
        const [ours, theirs] = await Promise.all(
          [join(folder, "out", name), model].map((at) => readFile(join(at, file))),
        );
        expect(ours?.equals(theirs as Buffer), file).toBe(true);
      }
    }
    const bytes = counting(128 * 128 * 2, 5);
    await writeFile(
      join(folder, "w.safetensors"),
      writeSafetensors({ w: { dtype: "bfloat16", shape: [128, 128], bytes } }),
    );
    await mkdir(join(folder, "cache"));
    const record = { name: "w", shape: [128, 128], dtype: "float32", format: "f32-to-bf16" };
    const list = {
      metadata: {},
      records: [
        {
          dataPath: "params_shard_0.bin",
          format: "raw-shard",
          nbytes: bytes.length,
          records: [{ ...record, nbytes: bytes.length, byteOffset: 0 }],
        },
      ],
    };
    await writeFile(join(folder, "cache", "tensor-cache.json"), JSON.stringify(list));
    await writeFile(join(folder, "cache", "params_shard_0.bin"), bytes);
    await store.add([join(folder, "w.safetensors")], { as: "s" });
    const { newBytes } = await store.add([join(folder, "cache", "tensor-cache.json")], { as: "c" });
    expect(newBytes).toBeLessThan(4096);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("leave other folders' lists what they are: companions", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "m.safetensors"), writeSafetensors({}));
    await writeFile(join(folder, "tensor-cache-b16.json"), "{}");
    await using model = await openModel([folder]);
    expect(model.draft.format).toBe("safetensors");
    expect(model.draft.files.map(({ path }) => path)).toEqual(["m.safetensors", "tensor-cache-b16.json"]);
  });
});
