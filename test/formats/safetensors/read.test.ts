import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../../src/io/byte-source.ts";
import { FormatError } from "../../../src/errors.ts";
import type { ModelFolder } from "../../../src/formats/format.ts";
import { safetensors } from "../../../src/formats/safetensors/format.ts";
import { readSafetensors } from "../../../src/formats/safetensors/read.ts";
import { readSafetensorsHeader } from "../../../src/formats/safetensors/read-header.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import type { FileDraft, ModelDraft, WeightDraft } from "../../../src/model/draft.ts";
import { tensorBytes } from "../../../src/tensor/dtype.ts";
import { chooseHoles, skeletonRanges } from "../../../src/model/holes.ts";
import type { Tensors } from "../../../src/tensor/tensor.ts";
import { countingSource } from "../../support/counting-source.ts";
import { LONG } from "../../support/speed.ts";

interface Described {
  metadata: Record<string, string> | null;
  tensors: Record<string, { dtype: string; shape: number[]; bytes: string }>;
}

const FIXTURES = new URL("../../../fixtures/safetensors/", import.meta.url);
const fixture = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FIXTURES)));
const EXPECTED = new Map<string, Described>(
  readFileSync(new URL("expected.jsonl", FIXTURES), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line)),
);

type Files = Readonly<Record<string, Uint8Array>>;

const INDEX = "model.safetensors.index.json";
const SHARDS = [1, 2, 3, 4].map((no) => `model-0000${no}-of-00004.safetensors`);
const SHARDED: Files = Object.fromEntries(
  [...SHARDS, INDEX].map((name) => [name, fixture(`sharded/${name}`)]),
);

const folderOf = (files: Files): ModelFolder => ({
  async open(path) {
    const bytes = files[path];
    return bytes && memorySource(bytes, path);
  },
});

/** Reads some files of a folder. */
async function read(
  files: Files,
  given: readonly string[] = Object.keys(files).filter((name) => name.endsWith(".safetensors")),
): Promise<ModelDraft> {
  const opened = given.map((path) => ({ path, source: memorySource(files[path] as Uint8Array, path) }));
  return readSafetensors(opened, folderOf(files));
}

async function refusal(reading: Promise<unknown>): Promise<FormatError> {
  const error = await reading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error as FormatError;
}

async function contentOf(draft: ModelDraft, { at }: WeightDraft): Promise<string> {
  const { source } = draft.files[at.file] as FileDraft;
  return Buffer.from(await source.read(at.offset, at.length)).toString("hex");
}

async function described(draft: ModelDraft): Promise<[string, Described["tensors"][string]][]> {
  const tensors: [string, Described["tensors"][string]][] = [];
  for (const weight of draft.methods.flatMap((method) => method.weights)) {
    const { name, dtype, shape } = weight;
    expect(weight.at.length).toBe(tensorBytes(dtype, shape));
    tensors.push([name, { dtype, shape: [...shape], bytes: await contentOf(draft, weight) }]);
  }
  return tensors.sort();
}

function expected(...names: string[]): [string, Described["tensors"][string]][] {
  return names.flatMap((name) => Object.entries((EXPECTED.get(name) as Described).tensors)).sort();
}

/** An index that says this of each tensor. */
const index = (weight_map: unknown, metadata?: unknown): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ metadata, weight_map }));

const byte = (value: number): Tensors[string] => ({
  dtype: "uint8",
  shape: [1],
  bytes: Uint8Array.of(value),
});

/** Two shards, and what index one likes. */
function pair(weightMap?: unknown): Files {
  return {
    "m-00001-of-00002.safetensors": writeSafetensors({ a: byte(1), b: byte(2) }),
    "m-00002-of-00002.safetensors": writeSafetensors({ c: byte(3) }),
    ...(weightMap !== undefined && { "m.safetensors.index.json": index(weightMap) }),
  };
}
const [FIRST, SECOND] = Object.keys(pair()) as [string, string];
const RIGHT = { a: FIRST, b: FIRST, c: SECOND };

describe("readSafetensors()", () => {
  test("is the format of .safetensors files", () => {
    expect(safetensors).toMatchObject({ id: "safetensors", extensions: [".safetensors"] });
  });

  test.each(["dtypes", "names", "none", "zero-size"])(
    "finds every tensor of %s, which the reference implementation wrote",
    async (name) => {
      const path = `${name}.safetensors`;
      const draft = await read({ [path]: fixture(path) });
      expect(draft).toMatchObject({ format: "safetensors", methods: [{ name, file: 0, constants: [] }] });
      expect(await described(draft)).toEqual(expected(path));
    },
  );

  test("leaves the header as program, and nothing else", async () => {
    const bytes = fixture("dtypes.safetensors");
    const draft = await read({ "m.safetensors": bytes });
    const rest = skeletonRanges(bytes.length, chooseHoles(draft)[0] ?? []);
    expect(rest).toEqual([
      { offset: 0, length: (await readSafetensorsHeader(memorySource(bytes))).dataStart },
    ]);
  });

  test("counts the bytes of types of 4 and 6 bits", async () => {
    const bytes = writeSafetensors({
      four: { dtype: "float4_e2m1", shape: [3, 2], bytes: new Uint8Array(3) },
      six: { dtype: "float6_e2m3", shape: [4], bytes: new Uint8Array(3) },
      other: { dtype: "float6_e3m2", shape: [2, 4], bytes: new Uint8Array(6) },
    });
    const draft = await read({ "m.safetensors": bytes });
    expect(draft.methods[0]?.weights.map(({ name, dtype, at }) => [name, dtype, at.length]).sort()).toEqual([
      ["four", "float4_e2m1", 3],
      ["other", "float6_e3m2", 6],
      ["six", "float6_e2m3", 3],
    ]);
  });

  test("makes a method of each file", async () => {
    const draft = await read(
      {
        "vae.safetensors": writeSafetensors({ a: byte(1) }),
        "UNet.SAFETENSORS": writeSafetensors({ a: byte(2) }),
      },
      ["vae.safetensors", "UNet.SAFETENSORS"],
    );
    expect(draft.methods.map(({ name, file }) => [name, file])).toEqual([
      ["vae", 0],
      ["UNet", 1],
    ]);
  });

  test("refuses two files of one name", async () => {
    const bytes = writeSafetensors({ a: byte(1) });
    const files = { "m.safetensors": bytes, "m-00001-of-00001.safetensors": bytes };
    expect(await refusal(read(files))).toMatchObject({ code: "duplicate", hint: expect.any(String) });
  });

  test("reads only the header of 10 GB", async () => {
    const names = [0, 1, 2, 3, 4].map((nth) => `layers.${nth}.weight`);
    const { source, start } = sparse(names, 2 ** 31);
    const draft = await readSafetensors([{ path: "x.safetensors", source }], folderOf({}));
    expect(draft.methods[0]?.weights[4]?.at).toEqual({
      file: 0,
      offset: start + 4 * 2 ** 31,
      length: 2 ** 31,
    });
    expect(source.reads).toEqual([{ offset: 0, length: 64 * 1024 }]);
  });

  test("reads a long header in two reads, nothing twice", async () => {
    const names = Array.from({ length: 20_000 }, (_, nth) => `layers.${nth}.weight`);
    const { source, start } = sparse(names, 2 ** 20);
    const { tensors } = await readSafetensorsHeader(source);
    expect(tensors).toHaveLength(20_000);
    expect(source.reads).toEqual([
      { offset: 0, length: 64 * 1024 },
      { offset: 64 * 1024, length: start - 64 * 1024 },
    ]);
  });

  test(
    "reads a header of exactly 100 MB, nothing twice, and refuses one byte more without reading it",
    LONG,
    async () => {
      const bytes = new Uint8Array(8 + 100_000_000).fill(0x20);
      const view = new DataView(bytes.buffer);
      view.setBigUint64(0, 100_000_000n, true);
      bytes.set(new TextEncoder().encode('{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'), 8);
      bytes[bytes.length - 1] = 0x7d;
      const source = countingSource(memorySource(bytes, "x.safetensors"));
      expect((await readSafetensorsHeader(source)).tensors).toMatchObject([{ name: "w", length: 0 }]);
      expect(source.bytes).toBe(bytes.length);
      view.setBigUint64(0, 100_000_001n, true);
      const longer = countingSource({ ...memorySource(bytes, "x.safetensors"), size: bytes.length + 1 });
      await expect(readSafetensorsHeader(longer)).rejects.toMatchObject({ code: "too-large" });
      expect(longer.bytes).toBe(64 * 1024);
    },
  );

  test("passes the signal on", async () => {
    const reason = new Error("enough");
    const files = [{ path: "m.safetensors", source: memorySource(fixture("none.safetensors")) }];
    const reading = readSafetensors(files, folderOf({}), { signal: AbortSignal.abort(reason) });
    await expect(reading).rejects.toBe(reason);
  });

  /** A file that goes on with zeros for as long as its tensors take. */
  function sparse(
    names: readonly string[],
    size: number,
  ): { source: ReturnType<typeof countingSource>; start: number } {
    const header = Object.fromEntries(
      names.map((name, nth) => [
        name,
        { dtype: "U8", shape: [size], data_offsets: [nth * size, (nth + 1) * size] },
      ]),
    );
    const text = new TextEncoder().encode(JSON.stringify(header));
    const bytes = new Uint8Array(8 + text.length);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
    bytes.set(text, 8);
    const source: ByteSource = {
      name: "sparse.safetensors",
      size: bytes.length + names.length * size,
      async read(offset, length) {
        const piece = new Uint8Array(length);
        piece.set(bytes.subarray(offset, offset + length));
        return piece;
      },
    };
    return { source: countingSource(source), start: bytes.length };
  }
});

describe("readSafetensors() of shards", () => {
  test.each([
    [SHARDS],
    [[...SHARDS].reverse()],
    [SHARDS.slice(0, 1)],
    [SHARDS.slice(2, 3)],
    [SHARDS.slice(1)],
  ])("finds all of a model that huggingface_hub divided, given %j", async (given) => {
    const draft = await read(SHARDED, given);
    expect(draft.methods).toHaveLength(1);
    expect(draft.methods[0]?.name).toBe("model");
    expect(draft.notes).toBeUndefined();
    expect(draft.files.map(({ path }) => path).sort()).toEqual([...SHARDS, INDEX].sort());
    expect(draft.files[draft.methods[0]?.file ?? -1]?.path).toBe(SHARDS[0]);
    expect(draft.methods[0]?.weights[0]?.name).toBe("model.embed_tokens.weight");
    expect(await described(draft)).toEqual(expected(...SHARDS.map((name) => `sharded/${name}`)));
  });

  test("reads them by their names where there is no index", async () => {
    const { [INDEX]: _, ...files } = SHARDED;
    for (const given of [SHARDS, SHARDS.slice(3)]) {
      const draft = await read(files, given);
      expect(await described(draft)).toEqual(expected(...SHARDS.map((name) => `sharded/${name}`)));
    }
  });

  test.each([
    ["from 0", [0, 1, 2], 3],
    ["from 0 to the count", [0, 1, 2], 2],
    ["one", [1], 1],
  ])("reads those counted %s", async (_, numbers, count) => {
    const names = numbers.map((no) => `m_0000${no}-of-0000${count}.safetensors`);
    const files = Object.fromEntries(
      names.map((name, nth) => [name, writeSafetensors({ [`t${nth}`]: byte(nth) })]),
    );
    for (const each of names) {
      const [method] = (await read(files, [each])).methods;
      expect(method?.name).toBe("m");
      expect(method?.weights.map(({ name }) => name)).toEqual(names.map((_, nth) => `t${nth}`));
    }
  });

  test("takes the shards that the index names, whatever their count", async () => {
    const files = {
      "d/m-00001-of-00002.safetensors": writeSafetensors({ a: byte(1) }),
      "d/tail.safetensors": writeSafetensors({ b: byte(2) }),
      "d/m.safetensors.index.json": index({ a: "m-00001-of-00002.safetensors", b: "tail.safetensors" }),
    };
    const draft = await read(files, ["d/m-00001-of-00002.safetensors"]);
    expect(draft.methods).toMatchObject([{ name: "d/m", weights: [{ name: "a" }, { name: "b" }] }]);
  });

  test("lets a wrong total pass, and says so", async () => {
    const { [INDEX]: bytes } = SHARDED;
    const text = new TextDecoder().decode(bytes).replace("260", "520");
    const draft = await read({ ...SHARDED, [INDEX]: new TextEncoder().encode(text) });
    expect(draft.notes).toEqual([`"${INDEX}" gives the tensors 520 bytes; they have 260`]);
  });

  test("refuses to go on without a shard", async () => {
    const { [SHARDS[2] as string]: _, ...files } = SHARDED;
    expect(await refusal(read(files, SHARDS.slice(0, 1)))).toMatchObject({
      code: "not-found",
      path: INDEX,
      tensor: "model.layers.0.input_layernorm.weight",
      message: expect.stringContaining(`"${SHARDS[2]}", which is not there`),
    });
    const { [INDEX]: __, ...bare } = files;
    expect(await refusal(read(bare, SHARDS.slice(0, 1)))).toMatchObject({
      code: "not-found",
      path: SHARDS[2],
      message: expect.stringContaining("shard 3 of 4"),
    });
  });

  test.each<[string, unknown, object, RegExp]>([
    [
      "a tensor that no shard has",
      { ...RIGHT, d: FIRST },
      { code: "mismatch", tensor: "d" },
      /"m-00001-of-00002.safetensors", which does not have it/,
    ],
    ["a file that is no number", { ...RIGHT, c: 2 }, { code: "malformed", tensor: "c" }, /not a string/],
    [
      "a path out of the folder",
      { ...RIGHT, c: "../x.safetensors" },
      { code: "unsafe-path", tensor: "c" },
      /"\.\.\/x/,
    ],
    [
      "an absolute path",
      { ...RIGHT, c: "/x.safetensors" },
      { code: "unsafe-path", tensor: "c" },
      /plain path/,
    ],
    [
      "a path in a roundabout way",
      { ...RIGHT, c: `./${SECOND}` },
      { code: "unsafe-path", tensor: "c" },
      /plain path/,
    ],
    ["a list", [FIRST, SECOND], { code: "malformed" }, /weight_map/],
    ["nothing", null, { code: "malformed" }, /weight_map/],
  ])("refuses an index that names %s", async (_, weightMap, fields, message) => {
    for (const given of [[FIRST], [SECOND, FIRST]]) {
      const error = await refusal(read(pair(weightMap), given));
      expect(error).toMatchObject({ path: "m.safetensors.index.json", ...fields });
      expect(error.message).toMatch(message);
    }
  });

  test.each<[string, unknown]>([
    ["names a tensor in another shard", { ...RIGHT, a: SECOND }],
    ["leaves out a tensor that a shard has", { a: FIRST, c: SECOND }],
    ["names too few shards", { a: FIRST, b: FIRST }],
    ["names shards of another number", { ...RIGHT, c: "m-00004-of-00004.safetensors" }],
  ])("reads whole shards beside an index that %s, and says so", async (_, weightMap) => {
    for (const given of [[FIRST], [SECOND, FIRST]]) {
      const draft = await read(pair(weightMap), given);
      expect(draft.notes).toEqual([expect.stringContaining("does not fit the shards beside it")]);
      expect(draft.methods).toHaveLength(1);
      expect(draft.methods[0]?.weights.map(({ name }) => name)).toEqual(["a", "b", "c"]);
      expect(draft.files.map(({ path }) => path)).toContain("m.safetensors.index.json");
    }
  });

  test("refuses shards of which one that the index names is missing", async () => {
    const { [SECOND]: _, ...files } = pair(RIGHT);
    expect(await refusal(read(files, [FIRST]))).toMatchObject({ code: "not-found", tensor: "c" });
    const error = await refusal(read(pair({ ...RIGHT, d: "gone.safetensors" })));
    expect(error).toMatchObject({ code: "not-found", tensor: "d" });
    expect(error.message).toContain('"gone.safetensors"');
  });

  test.each([
    ["six digits", ["model-00001-of-000003", "model-00002-of-000003", "model-00003-of-000003"]],
    ["no leading zeros", Array.from({ length: 11 }, (_, nth) => `model-${nth + 1}-of-11`)],
  ])("knows shards whose numbers have %s", async (_, stems) => {
    const files: Record<string, Uint8Array> = {};
    for (const [nth, stem] of stems.entries())
      files[`${stem}.safetensors`] = writeSafetensors({ [`t${nth}`]: byte(nth) });
    const first = `${stems[0]}.safetensors`;
    const [method, other] = (await read(files, [first])).methods;
    expect(other).toBeUndefined();
    expect(method?.name).toBe("model");
    expect(method?.weights.map(({ name }) => name)).toEqual(stems.map((__, nth) => `t${nth}`));
    delete files[`${stems[1]}.safetensors`];
    expect(await refusal(read(files, [first]))).toMatchObject({
      code: "not-found",
      path: `${stems[1]}.safetensors`,
    });
  });

  test("finds the shards of a file without a number by the index that names it", async () => {
    const files: Record<string, Uint8Array> = {
      "head.safetensors": writeSafetensors({ a: byte(1) }),
      "tail.safetensors": writeSafetensors({ b: byte(2) }),
      [INDEX]: index({ a: "head.safetensors", b: "tail.safetensors" }),
    };
    for (const given of [["head.safetensors"], ["head.safetensors", "tail.safetensors"]]) {
      const draft = await read(files, given);
      expect(draft.methods).toMatchObject([{ name: "model", weights: [{ name: "a" }, { name: "b" }] }]);
    }
    delete files["tail.safetensors"];
    expect(await refusal(read(files))).toMatchObject({ code: "not-found", path: INDEX, tensor: "b" });
  });

  test.each<[string, string, string]>([
    [
      "a tensor twice",
      `{"weight_map":{"a":"${FIRST}","b":"${FIRST}","c":"${SECOND}","a":"${SECOND}"}}`,
      "duplicate",
    ],
    ["two maps", `{"weight_map":{},"weight_map":{}}`, "duplicate"],
    ["no JSON", "weight_map", "malformed"],
    ["nothing", "", "malformed"],
    ["a number", "1", "malformed"],
  ])("refuses an index with %s", async (_, text, code) => {
    const files = { ...pair(), "m.safetensors.index.json": new TextEncoder().encode(text) };
    expect(await refusal(read(files))).toMatchObject({ code, path: "m.safetensors.index.json" });
  });

  test("refuses an index that is not UTF-8, or too large to be one", async () => {
    const files = { ...pair(), "m.safetensors.index.json": Uint8Array.of(0x7b, 0xff, 0x7d) };
    expect(await refusal(read(files))).toMatchObject({ code: "malformed" });
    const large: ByteSource = {
      ...memorySource(new Uint8Array(0), "m.safetensors.index.json"),
      size: 2 ** 30,
    };
    const folder: ModelFolder = { open: async () => large };
    const source = memorySource(pair()[FIRST] as Uint8Array, FIRST);
    expect(await refusal(readSafetensors([{ path: FIRST, source }], folder))).toMatchObject({
      code: "too-large",
    });
  });

  test("takes a tensor of any name", async () => {
    const name = "__proto__";
    const files = {
      "m-00001-of-00001.safetensors": writeSafetensors(Object.fromEntries([[name, byte(1)]])),
      "m.safetensors.index.json": new TextEncoder().encode(
        `{"weight_map":{"${name}":"m-00001-of-00001.safetensors"}}`,
      ),
    };
    expect((await read(files)).methods[0]?.weights).toMatchObject([{ name }]);
  });

  test("refuses a tensor in two shards", async () => {
    for (const map of [undefined, RIGHT]) {
      const files = { ...pair(map), [SECOND]: writeSafetensors({ c: byte(3), a: byte(4) }) };
      expect(await refusal(read(files, [SECOND]))).toMatchObject({
        code: "duplicate",
        path: SECOND,
        tensor: "a",
        message: expect.stringContaining(`"${FIRST}" has it too`),
      });
    }
  });

  test("refuses a shard numbered past the last", async () => {
    const path = "m-00003-of-00002.safetensors";
    expect(await refusal(read({ ...pair(), [path]: writeSafetensors({}) }, [path]))).toMatchObject({
      code: "bad-name",
      path,
    });
  });

  test("refuses two divisions of one name", async () => {
    const files = { ...pair(), "m-00001-of-00001.safetensors": writeSafetensors({}) };
    expect(await refusal(read(files))).toMatchObject({ code: "duplicate" });
  });

  test("refuses a damaged shard that it found itself", async () => {
    const files = {
      ...SHARDED,
      [SHARDS[1] as string]: (SHARDED[SHARDS[1] as string] as Uint8Array).slice(0, -1),
    };
    expect(await refusal(read(files, SHARDS.slice(0, 1)))).toMatchObject({
      code: "malformed",
      path: SHARDS[1],
    });
  });
});
