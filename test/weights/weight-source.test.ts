import { readFileSync } from "node:fs";
import { appendFile, copyFile, open, rename, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/io/byte-source.ts";
import { BlobService } from "../../src/compile/blobs/blob-service.ts";
import { draftWeights } from "../../src/weights/draft.ts";
import { hashWeight } from "../../src/weights/hash-weight.ts";
import { memoryWeights } from "../../src/weights/memory.ts";
import type { WeightSource } from "../../src/weights/weight-source.ts";
import { openHttpModel } from "../../src/weights/open-http-model.ts";
import { loadWeight } from "../../src/weights/load-weight.ts";
import { locateWeight } from "../../src/weights/locate-weight.ts";
import { openWeights } from "../../src/weights/open-weights.ts";
import { readWeight } from "../../src/weights/read-weight.ts";
import { streamWeight } from "../../src/weights/stream-weight.ts";
import { openStore } from "../../src/tare-store.ts";
import type { ModelDraft, WeightDraft } from "../../src/model/draft.ts";
import type { DType } from "../../src/tensor/dtype.ts";
import { createSha256 } from "../../src/node/sha256.ts";
import { memoryBlobs } from "../../src/store/memory-blobs.ts";
import { counting, digestOf, joined } from "../support/bytes.ts";
import { countingSource } from "../support/counting-source.ts";
import { serveFiles } from "../support/file-server.ts";
import { graph, model, tensor } from "../support/onnx-builder.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { thrown } from "../support/thrown.ts";

/** What somebody else's tool says of a weight. */
interface Described {
  readonly dtype: string | null;
  readonly shape: readonly number[];
  readonly sha256: string;
}
type Expected = ReadonlyMap<string, Described>;

const FIXTURES = fileURLToPath(new URL("../../fixtures/", import.meta.url));
const text = (path: string): string => readFileSync(join(FIXTURES, path), "utf8");

function onnxExpected(name: string): Expected {
  const all = JSON.parse(text("onnx/expected.json")) as Record<string, (Described & { name: string })[]>;
  return new Map((all[name] ?? []).map((each) => [each.name, each]));
}

function ggufExpected(...names: string[]): Expected {
  const all = new Map<string, { tensors: (Described & { name: string })[] }>(
    text("gguf/expected.jsonl")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
  );
  return new Map(names.flatMap((name) => (all.get(name)?.tensors ?? []).map((each) => [each.name, each])));
}

function safetensorsExpected(name: string): Expected {
  const all = new Map<string, { tensors: Record<string, { dtype: string; shape: number[]; bytes: string }> }>(
    text("safetensors/expected.jsonl")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
  );
  return new Map(
    Object.entries(all.get(name)?.tensors ?? {}).map(([key, { dtype, shape, bytes }]) => [
      key,
      { dtype, shape, sha256: digestOf(Buffer.from(bytes, "hex")).slice("sha256:".length) },
    ]),
  );
}

/** A model each of what the formats do: their files were written by other people's tools. */
const MODELS: readonly (readonly [path: string, expected: Expected, varints: boolean])[] = [
  ["safetensors/dtypes.safetensors", safetensorsExpected("dtypes.safetensors"), false],
  ["safetensors/zero-size.safetensors", safetensorsExpected("zero-size.safetensors"), false],
  ["gguf/types.gguf", ggufExpected("types.gguf"), false],
  [
    "gguf/split-00001-of-00003.gguf",
    ggufExpected(...[1, 2, 3].map((no) => `split-0000${no}-of-00003.gguf`)),
    false,
  ],
  ["onnx/raw.onnx", onnxExpected("raw.onnx"), false],
  ["onnx/typed.onnx", onnxExpected("typed.onnx"), true],
  ["onnx/one-file.onnx", onnxExpected("one-file.onnx"), false],
  ["onnx/many/model.onnx", onnxExpected("many/model.onnx"), false],
];

/** Everything that the seam promises, against what somebody else says the weights are. */
async function conforms(
  data: WeightSource,
  expected: Expected,
  mappable: boolean | undefined,
): Promise<void> {
  expect(expected.size).toBeGreaterThan(0);
  expect([...data.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [key, { dtype, shape, sha256 }] of expected) {
    const layout = data.layout(key);
    if (!layout) throw new TypeError(`no layout of ${key}`);
    expect([key, layout.dtype, layout.shape]).toEqual([key, dtype, shape]);
    if (layout.digest) expect(layout.digest).toBe(`sha256:${sha256}`);
    expect(await hashWeight(data, key, { createDigest: createSha256 })).toBe(`sha256:${sha256}`);

    const held = await readWeight(data, key);
    const bytes = held.bytes.slice();
    expect(digestOf(bytes)).toBe(`sha256:${sha256}`);
    expect(bytes.byteLength).toBe(layout.length);
    held.free();
    held.free();
    expect(await thrown(async () => held.bytes)).toMatchObject({ code: "released", tensor: key });

    const memory = new Uint8Array(layout.length + 2).fill(0xee);
    await loadWeight(data, key, memory.subarray(1, -1));
    expect(memory.subarray(1, -1)).toEqual(bytes);
    expect([memory[0], memory.at(-1)]).toEqual([0xee, 0xee]);
    for (const wrong of [layout.length + 1, layout.length - 1]) {
      if (wrong < 0) continue;
      const target = new Uint8Array(wrong).fill(0xee);
      const error = await thrown(loadWeight(data, key, target));
      expect(error).toMatchObject({ code: "size-mismatch", tensor: key });
      expect(error.message).toContain(`it has ${layout.length} bytes, the memory for it has ${wrong}`);
      expect(target.every((byte) => byte === 0xee)).toBe(true);
    }

    const chunk = Math.ceil(layout.length / 7) || 1;
    const sizes: number[] = [];
    async function* noted(): AsyncGenerator<Uint8Array> {
      for await (const piece of streamWeight(data, key, { chunk })) {
        sizes.push(piece.byteLength);
        yield piece;
      }
    }
    expect(await joined(noted())).toEqual(bytes);
    expect(Math.max(0, ...sizes)).toBeLessThanOrEqual(chunk);
    expect(sizes).not.toContain(0);

    const range = await locateWeight(data, key);
    if (mappable !== undefined) expect(range !== undefined).toBe(mappable);
    if (range) {
      expect(range.length).toBe(layout.length);
      const handle = await open(range.path);
      const { buffer } = await handle.read(Buffer.alloc(range.length), 0, range.length, range.offset);
      await handle.close();
      expect(new Uint8Array(buffer)).toEqual(bytes);
    }
  }

  expect(data.layout("no such weight")).toBeUndefined();
  expect(await locateWeight(data, "no such weight")).toBeUndefined();
  const missing = { name: "LinkError", code: "missing-weight", tensor: "no such weight" };
  expect(await thrown(readWeight(data, "no such weight"))).toMatchObject(missing);
  expect(await thrown(loadWeight(data, "no such weight", new Uint8Array(1)))).toMatchObject(missing);
  expect(await thrown(async () => joined(streamWeight(data, "no such weight")))).toMatchObject(missing);

  const [key = ""] = [...expected].find(([, { shape }]) => !shape.includes(0)) ?? [];
  const signal = AbortSignal.abort(new RangeError("enough"));
  await expect(readWeight(data, key, { signal })).rejects.toThrow("enough");
  await expect(
    loadWeight(data, key, new Uint8Array(data.layout(key)?.length ?? 0), { signal }),
  ).rejects.toThrow("enough");
  await expect(joined(streamWeight(data, key, { signal }))).rejects.toThrow("enough");
  for (const chunk of [0, -1, 1.5, Number.NaN])
    expect(() => streamWeight(data, key, { chunk })).toThrow(RangeError);
}

describe("draftWeights()", () => {
  test.each(MODELS)("gives the weights of %s, as files", async (path, expected, varints) => {
    await using data = await openWeights(join(FIXTURES, path));
    await conforms(data, expected, varints ? undefined : true);
    if (varints) expect(await locateWeight(data, "int32")).toBeUndefined();
  });

  test.each(MODELS)("gives the weights of %s, over HTTP", async (path, expected) => {
    const server = await serveFiles(FIXTURES);
    await conforms(draftWeights(await openHttpModel(`${server.url}${path}`)), expected, false);
  });

  test("fetches heads and what is asked for, no more", async () => {
    const server = await serveFiles(FIXTURES);
    const data = draftWeights(await openHttpModel(`${server.url}charlm/base.safetensors`));
    const head = server.sent;
    const total = data.keys().reduce((sum, key) => sum + (data.layout(key)?.length ?? 0), 0);
    expect(head).toBeLessThan(total / 4);
    const key = data.keys()[3] as string;
    await readWeight(data, key);
    expect(server.sent - head).toBe(data.layout(key)?.length);
  });

  test("reads shards that an index names", async () => {
    const folder = await temporaryFolder();
    const shard = (name: string, values: number[]): Buffer => {
      const header = JSON.stringify({
        [name]: { dtype: "U8", shape: [values.length], data_offsets: [0, values.length] },
      });
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([length, Buffer.from(header), Buffer.from(values)]);
    };
    const paths = [1, 2].map((no) => `model-0000${no}-of-00002.safetensors`);
    await writeFile(join(folder, paths[0] as string), shard("a", [1, 2, 3]));
    await writeFile(join(folder, paths[1] as string), shard("b", [4, 5]));
    const index = { metadata: { total_size: 5 }, weight_map: { a: paths[0], b: paths[1] } };
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
    const expected: Expected = new Map(
      Object.entries({ a: [1, 2, 3], b: [4, 5] }).map(([key, values]) => [
        key,
        { dtype: "uint8", shape: [values.length], sha256: digestOf(Uint8Array.from(values)).slice(7) },
      ]),
    );
    await using data = await openWeights(folder);
    await conforms(data, expected, true);
    const server = await serveFiles(folder);
    await conforms(draftWeights(await openHttpModel(`${server.url}${paths[1]}`)), expected, false);
  });

  test("asks which method where there are several", async () => {
    const method = (name: string, offset: number) => ({
      name,
      file: 0,
      weights: [weight(offset)],
      constants: [],
    });
    const draft = {
      format: "x",
      methods: [method("one", 0), method("two", 1)],
      files: [{ path: "m", source }],
    };
    expect((await readWeight(draftWeights(draft, { method: "two" }), "w")).bytes).toEqual(
      counting(9).subarray(1, 5),
    );
    for (const options of [{}, { method: "three" }]) {
      expect(await thrown(async () => draftWeights(draft, options))).toMatchObject({
        code: "not-found",
        hint: "Name one of the methods: one, two",
      });
    }
  });

  const source = memorySource(counting(9), "m");
  const weight = (offset: number, change: Partial<WeightDraft> = {}): WeightDraft => ({
    name: "w",
    dtype: "uint8",
    shape: [4],
    at: { file: 0, offset, length: 4 },
    ...change,
  });
  const draftOf = (...weights: WeightDraft[]): ModelDraft => ({
    format: "x",
    methods: [{ name: "main", file: 0, weights, constants: [] }],
    files: [{ path: "m", source }],
  });

  test.each([
    ["past the end", [weight(6)], "size-mismatch", "it ends at byte 10, past the end of the file at 9"],
    [
      "shorter than its shape",
      [weight(0, { shape: [5] })],
      "size-mismatch",
      "uint8 [5] takes 5 bytes, its data has 4",
    ],
    [
      "of a shape that cannot be",
      [weight(0, { shape: [-4] })],
      "size-mismatch",
      "no tensor has the layout uint8 [-4]",
    ],
    ["that is there twice", [weight(0), weight(1)], "duplicate", "two tensors have that name"],
  ] as const)("refuses a weight %s", async (_, weights, code, message) => {
    const error = await thrown(async () => draftWeights(draftOf(...weights)));
    expect(error).toMatchObject({ code, tensor: "w", path: "m", offset: weights.at(-1)?.at.offset });
    expect(error.message).toContain(message);
  });

  test.each([
    ["fewer numbers than its shape", [1, 2], "uint8 [3] takes 3 bytes, its data has 2"],
    ["more numbers than its shape", [1, 2, 3, 4], "uint8 [3] takes 3 bytes, its data has more"],
    ["a number that is cut off", [1, 2, 3, 0x80], "a varint is cut off"],
    ["a number that does not fit", [1, 2, 0xff, 0x7f], "does not fit 8 bits"],
  ])("refuses varints with %s", async (_, bytes, message) => {
    const file = memorySource(Uint8Array.from([0, ...bytes]), "m");
    const at = { file: 0, offset: 1, length: bytes.length, varint: { width: 1, signed: false } as const };
    const draft = { ...draftOf(weight(0, { shape: [3], at })), files: [{ path: "m", source: file }] };
    const data = draftWeights(draft);
    for (const reading of [
      readWeight(data, "w"),
      loadWeight(data, "w", new Uint8Array(3)),
      joined(streamWeight(data, "w")),
      joined(streamWeight(data, "w", { chunk: 1 })),
    ]) {
      expect((await thrown(reading)).message).toContain(message);
    }
  });

  test("reads memory without a copy, and each byte of a source once", async () => {
    const bytes = counting(100);
    const counted = countingSource(memorySource(bytes));
    const one = weight(10, { shape: [80], at: { file: 0, offset: 10, length: 80 } });
    const data = draftWeights({ ...draftOf(one), files: [{ path: "m", source: counted }] });
    expect((await readWeight(data, "w")).bytes.buffer).toBe(bytes.buffer);
    expect(counted.reads).toEqual([{ offset: 10, length: 80 }]);
    await joined(streamWeight(data, "w", { chunk: 30 }));
    expect(counted.reads.slice(1)).toEqual([
      { offset: 10, length: 30 },
      { offset: 40, length: 30 },
      { offset: 70, length: 20 },
    ]);
  });
});

describe("a source that gives fewer bytes than it was asked for", () => {
  test("is found out", async () => {
    const source = { ...memorySource(counting(9), "m"), read: async () => counting(3) };
    const weight = { name: "w", dtype: "uint8", shape: [4], at: { file: 0, offset: 2, length: 4 } } as const;
    const methods = [{ name: "main", file: 0, weights: [weight], constants: [] }];
    const data = draftWeights({ format: "x", methods, files: [{ path: "m", source }] });
    for (const reading of [
      readWeight(data, "w"),
      loadWeight(data, "w", new Uint8Array(4)),
      joined(streamWeight(data, "w")),
      new BlobService({ sink: memoryBlobs({ createDigest: createSha256 }), createDigest: createSha256 }).put(
        "w",
        source,
      ),
    ]) {
      expect(await thrown(reading)).toMatchObject({ code: "short-read", path: "m" });
    }
  });
});

describe("a file that changes while it is open", () => {
  const changes: readonly (readonly [string, (path: string) => Promise<void>, string])[] = [
    [
      "is replaced by the same bytes",
      async (path) => {
        await copyFile(path, `${path}.new`);
        await rename(`${path}.new`, path);
      },
      "was replaced",
    ],
    ["grows", (path) => appendFile(path, "x"), "was written to"],
    [
      "is written in place, at the same size",
      async (path) => {
        const handle = await open(path, "r+");
        await handle.write(Buffer.from([1]), 0, 1, 3000);
        await handle.close();
        await utimes(path, 1, 1);
      },
      "was written to",
    ],
    ["is removed", (path) => rm(path), "is gone"],
  ];

  test.each(changes)("is noticed when it %s", async (_, change, how) => {
    const path = join(await temporaryFolder(), "base.safetensors");
    await copyFile(join(FIXTURES, "charlm/base.safetensors"), path);
    await using data = await openWeights(path);
    const key = data.keys()[0] as string;
    const range = await locateWeight(data, key);
    expect(range).toMatchObject({ path });
    await change(path);
    for (const using of [
      () => locateWeight(data, key),
      () => readWeight(data, key),
      () => loadWeight(data, key, new Uint8Array(range?.length ?? 0)),
      () => joined(streamWeight(data, key)),
    ]) {
      const error = await thrown(using);
      expect(error).toMatchObject({ name: "SourceError", code: "source-changed", path });
      expect(error.message).toContain(how);
    }
  });

  test("is noticed over HTTP", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "base.safetensors");
    await copyFile(join(FIXTURES, "charlm/base.safetensors"), path);
    const server = await serveFiles(folder);
    const data = draftWeights(await openHttpModel(`${server.url}base.safetensors`));
    await utimes(path, 1, 1);
    expect(await thrown(readWeight(data, data.keys()[0] as string))).toMatchObject({
      code: "source-changed",
    });
  });

  test("is a typed error when it was closed", async () => {
    const data = await openWeights(join(FIXTURES, "charlm/base.safetensors"));
    await data[Symbol.asyncDispose]();
    expect(await thrown(readWeight(data, data.keys()[0] as string))).toMatchObject({ code: "io" });
  });
});

describe("TareStore.weights()", () => {
  test.each(MODELS)("gives the weights of %s, mapped where the store has them", async (path, expected) => {
    const store = await openStore({ path: join(await temporaryFolder(), "store") });
    await store.add([join(FIXTURES, path)], { as: "m" });
    const data = await store.weights("m");
    await conforms(data, expected, true);
    for (const key of data.keys())
      expect(data.layout(key)?.digest).toBe(`sha256:${expected.get(key)?.sha256}`);
    expect(await thrown(store.weights("m", { method: "no" }))).toMatchObject({ code: "not-found" });
  });

  test("says what is gone when the model was collected meanwhile", async () => {
    const store = await openStore({ path: join(await temporaryFolder(), "store") });
    await store.add([join(FIXTURES, "charlm/base.safetensors")], { as: "m" });
    const data = await store.weights("m");
    await store.remove(["m"]);
    await store.gc();
    expect(await thrown(readWeight(data, data.keys()[0] as string))).toMatchObject({ code: "missing-blob" });
  });
});

describe("memoryWeights()", () => {
  const tensors = {
    w: { dtype: "float32" as DType, shape: [2, 4], bytes: counting(32) },
    __proto: { dtype: "uint8" as DType, shape: [], bytes: counting(1) },
    empty: { dtype: "int64" as DType, shape: [0], bytes: new Uint8Array(0) },
  };

  test("gives live memory, without a copy", async () => {
    const data = memoryWeights(tensors, "live");
    const expected = Object.entries(tensors).map(([key, { dtype, shape, bytes }]): [string, Described] => [
      key,
      { dtype, shape, sha256: digestOf(bytes).slice(7) },
    ]);
    await conforms(data, new Map(expected), false);
    expect((await readWeight(data, "w")).bytes.buffer).toBe(tensors.w.bytes.buffer);
    for await (const chunk of streamWeight(data, "w", { chunk: 8 }))
      expect(chunk.buffer).toBe(tensors.w.bytes.buffer);
  });

  test("refuses bytes that are not those of the shape", async () => {
    const wrong = { w: { ...tensors.w, shape: [2, 5] } };
    expect(await thrown(async () => memoryWeights(wrong))).toMatchObject({
      code: "size-mismatch",
      message: 'Cannot use weight "w" of "memory" as float32 [2, 5]: that takes 40 bytes, it has 32',
    });
  });

  test("refuses memory that was given to another thread", async () => {
    const bytes = counting(32);
    const data = memoryWeights({ w: { ...tensors.w, bytes } });
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    expect(await thrown(readWeight(data, "w"))).toMatchObject({ code: "released", tensor: "w" });
    expect(await thrown(loadWeight(data, "w", new Uint8Array(0)))).toMatchObject({ code: "released" });
    expect(await thrown(async () => joined(streamWeight(data, "w")))).toMatchObject({ code: "released" });
  });
});

describe("openHttpModel()", () => {
  test("refuses what is not there, no model, or outside of its folder", async () => {
    const { url } = await serveFiles(FIXTURES);
    expect(await thrown(openHttpModel(`${url}nowhere.safetensors`))).toMatchObject({ code: "not-found" });
    expect(await thrown(openHttpModel(`${url}charlm/README.md`))).toMatchObject({ code: "unknown-format" });
    const folder = await temporaryFolder();
    const outside = model({
      graph: graph({ initializers: [tensor("w", "float32", [4], { external: { location: "../secret" } })] }),
    });
    await writeFile(join(folder, "m.onnx"), outside);
    const server = await serveFiles(folder);
    const error = await thrown(openHttpModel(`${server.url}m.onnx`));
    expect(error).toMatchObject({ code: "unsafe-path", path: "../secret" });
  });
});
