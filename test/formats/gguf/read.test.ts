import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../../src/io/byte-source.ts";
import { FormatError } from "../../../src/errors.ts";
import type { ModelFile, ModelFolder } from "../../../src/formats/format.ts";
import { gguf } from "../../../src/formats/gguf/format.ts";
import { readGguf } from "../../../src/formats/gguf/read.ts";
import { readGgufHeader } from "../../../src/formats/gguf/read-header.ts";
import type { FileDraft, ModelDraft, WeightDraft } from "../../../src/model/draft.ts";
import { chooseHoles, skeletonRanges } from "../../../src/model/holes.ts";
import { tensorBytes } from "../../../src/tensor/dtype.ts";
import { countingSource } from "../../support/counting-source.ts";
import {
  array,
  type BuiltEntry,
  type BuiltFile,
  buildGguf,
  floats,
  int32,
  shards,
  text,
  TYPE,
  uint16,
  uint32,
} from "../../support/gguf-builder.ts";

interface Expected {
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: string | null;
    readonly shape: readonly number[];
    readonly sha256: string;
  }[];
}

const FIXTURES = new URL("../../../fixtures/gguf/", import.meta.url);
const fixture = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FIXTURES)));
const EXPECTED = new Map<string, Expected>(
  readFileSync(new URL("expected.jsonl", FIXTURES), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line)),
);

type Files = Readonly<Record<string, Uint8Array>>;

const build = (files: Readonly<Record<string, BuiltFile>>): Files =>
  Object.fromEntries(Object.entries(files).map(([name, file]) => [name, buildGguf(file).bytes]));

const folderOf = (files: Files): ModelFolder => ({
  async open(path) {
    const bytes = files[path];
    return bytes && memorySource(bytes, path);
  },
});

/** Reads some files of a folder. */
async function read(files: Files, given: readonly string[] = Object.keys(files)): Promise<ModelDraft> {
  const opened = given.map((path): ModelFile => {
    return { path, source: memorySource(files[path] as Uint8Array, path) };
  });
  return readGguf(opened, folderOf(files));
}

async function refusal(reading: Promise<unknown>): Promise<FormatError> {
  const error = await reading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error as FormatError;
}

async function contentOf(draft: ModelDraft, { at }: WeightDraft): Promise<Uint8Array> {
  const { source } = draft.files[at.file] as FileDraft;
  return source.read(at.offset, at.length);
}

async function described(draft: ModelDraft, method: number): Promise<Expected["tensors"]> {
  const tensors: Expected["tensors"][number][] = [];
  for (const weight of draft.methods[method]?.weights ?? []) {
    const { name, dtype, shape } = weight;
    expect(weight.at.length).toBe(tensorBytes(dtype, shape));
    const sha256 = createHash("sha256")
      .update(await contentOf(draft, weight))
      .digest("hex");
    tensors.push({ name, dtype, shape, sha256 });
  }
  return tensors;
}

function expected(...names: string[]): Expected["tensors"] {
  return names.flatMap((name) =>
    (EXPECTED.get(name) as Expected).tensors.map((tensor) => ({
      name: tensor.name,
      dtype: tensor.dtype,
      shape: tensor.shape,
      sha256: tensor.sha256,
    })),
  );
}

/** What of a draft's file is no weight. */
async function restOf(draft: ModelDraft, file: number): Promise<Uint8Array> {
  const { source } = draft.files[file] as FileDraft;
  const parts: Uint8Array[] = [];
  for (const { offset, length } of skeletonRanges(source.size, chooseHoles(draft)[file] ?? [])) {
    parts.push(await source.read(offset, length));
  }
  return Buffer.concat(parts);
}

describe("readGguf()", () => {
  test.each([...EXPECTED.keys()].filter((name) => !/-of-|unknown/.test(name)))(
    "finds the weights of %s",
    async (name) => {
      const draft = await read({ [name]: fixture(name) });
      expect(draft).toMatchObject({
        format: "gguf",
        methods: [{ name: name.replace(".gguf", ""), file: 0, constants: [] }],
        files: [{ path: name }],
      });
      expect(draft).not.toHaveProperty("notes");
      expect(await described(draft, 0)).toEqual(expected(name));
    },
  );

  test("names the file extension", () => {
    expect(gguf).toMatchObject({ id: "gguf", extensions: [".gguf"] });
  });

  test("leaves header and padding to the program: two adapters of one make have the same", async () => {
    const bytes = fixture("lora.gguf");
    const changed = bytes.slice();
    const draft = await read({ "a.gguf": bytes });
    for (const { at } of draft.methods[0]?.weights ?? []) changed.fill(7, at.offset, at.offset + at.length);
    const other = await read({ "b.gguf": changed });
    expect(await restOf(other, 0)).toEqual(await restOf(draft, 0));
    expect((await restOf(draft, 0)).length).toBe(bytes.length - 4 * 64);
  });

  test("keeps tensors of unknown types as plain bytes, and says so", async () => {
    const draft = await read({ "unknown.gguf": fixture("unknown.gguf") });
    const weights = draft.methods[0]?.weights.map(({ name, dtype, shape }) => [name, dtype, shape]);
    expect(weights).toEqual([
      ["a", "float32", [3]],
      ["blk.0.ffn_up.weight", "uint8", [96]],
      ["b", "float16", [2]],
      ["blk.1.ffn_up.weight", "uint8", [64]],
    ]);
    expect(draft.notes).toEqual([
      'Tensor "blk.0.ffn_up.weight" and 1 more are of ggml type 142, which tare does not know: kept as plain bytes',
    ]);
  });

  test("makes a method of each file that is a model of its own", async () => {
    const draft = await read({
      "model.gguf": fixture("types.gguf"),
      "MMPROJ.GGUF": fixture("shapes.gguf"),
      "lora-00001-of-00001.gguf": fixture("lora.gguf"),
    });
    expect(draft.methods.map(({ name, file }) => [name, file])).toEqual([
      ["model", 0],
      ["MMPROJ", 1],
      ["lora", 2],
    ]);
    expect(await described(draft, 1)).toEqual(expected("shapes.gguf"));
  });

  test("passes on what is wrong with a file", async () => {
    expect(await refusal(read({ "big-endian.gguf": fixture("big-endian.gguf") }))).toMatchObject({
      code: "unsupported",
      path: "big-endian.gguf",
    });
  });

  test.each([
    ["m.gguf", "m-00001-of-00001.gguf"],
    ["m.gguf", "m.GGUF"],
  ])("refuses %s with %s: both would be called m", async (...names) => {
    const files = Object.fromEntries(names.map((name) => [name, fixture("lora.gguf")]));
    expect(await refusal(read(files))).toMatchObject({ code: "duplicate", path: names[1] });
  });

  test("refuses a file given twice", async () => {
    const files = { "m.gguf": fixture("lora.gguf") };
    expect(await refusal(read(files, ["m.gguf", "m.gguf"]))).toMatchObject({ code: "duplicate" });
  });
});

describe("readGguf() of shards", () => {
  const three = [1, 2, 3].map((no) => `split-0000${no}-of-00003.gguf`);
  const files: Files = Object.fromEntries(three.map((name) => [name, fixture(name)]));

  test.each([
    ["all", three],
    ["all, in another order", [three[2], three[0], three[1]]],
    ["the first", [three[0]]],
    ["the last", [three[2]]],
    ["two", [three[1], three[0]]],
  ] as [string, string[]][])("finds all when %s are given", async (_, given) => {
    const draft = await read(files, given);
    expect(draft.methods).toHaveLength(1);
    expect(draft.methods[0]?.name).toBe("split");
    expect(draft.files[draft.methods[0]?.file ?? -1]?.path).toBe(three[0]);
    expect(draft.files.slice(0, given.length).map(({ path }) => path)).toEqual(given);
    expect(draft.files.map(({ path }) => path).sort()).toEqual(three);
    expect(await described(draft, 0)).toEqual(expected(...three));
  });

  test("finds weights past a first shard without tensors", async () => {
    const names = [1, 2, 3].map((no) => `late-0000${no}-of-00003.gguf`);
    const draft = await read(
      Object.fromEntries(names.map((name) => [name, fixture(name)])),
      names.slice(0, 1),
    );
    expect(await described(draft, 0)).toEqual(expected(...names));
    expect(draft.methods[0]).toMatchObject({ name: "late", file: 0 });
  });

  test("takes shards of which only the first has counts, and one with an alignment of its own", async () => {
    const spec = shards("m", [[floats("a", 8)], [floats("b", 8)], []]);
    const second = spec["m-00002-of-00003.gguf"] as BuiltFile;
    const entries = [...(second.entries ?? []), uint32("general.alignment", 4096)];
    const draft = await read(
      build({ ...spec, "m-00002-of-00003.gguf": { ...second, entries, alignment: 4096 } }),
    );
    expect(draft.methods[0]?.weights.map(({ name, at }) => [name, at.file, at.offset])).toEqual([
      ["a", 0, 160],
      ["b", 1, 4096],
    ]);
  });

  test("reads two models in shards and one in a single file", async () => {
    const draft = await read(
      build({
        ...shards("x", [[floats("a", 8)], [floats("b", 8)]]),
        ...shards("y", [[floats("a", 8)], [floats("b", 8)]]),
        "z.gguf": { tensors: [floats("a", 8)] },
      }),
    );
    expect(draft.methods.map(({ name, weights }) => [name, weights.length])).toEqual([
      ["x", 2],
      ["y", 2],
      ["z", 1],
    ]);
  });

  test("takes one of one", async () => {
    const draft = await read(build(shards("m", [[floats("a", 8)]])));
    expect(draft.methods.map(({ name, weights }) => [name, weights.length])).toEqual([["m", 1]]);
  });

  test("says which shard is missing", async () => {
    const { [three[1] as string]: _, ...rest } = files;
    expect(await refusal(read(rest))).toMatchObject({
      code: "not-found",
      path: three[1],
      message: 'Cannot find "split-00002-of-00003.gguf", shard 2 of 3 of "split"',
      hint: expect.stringContaining("one folder"),
    });
  });

  const [first = "", second = "", third = ""] = [1, 2, 3].map((no) => `m-0000${no}-of-00003.gguf`);
  const sound = shards("m", [[floats("a", 8)], [floats("b", 8), floats("c", 8)], [floats("d", 8)]]);
  /** The sound split with a file's entries changed. */
  const withEntries = (path: string, ...entries: BuiltEntry[]): Record<string, BuiltFile> => ({
    ...sound,
    [path]: { ...sound[path], entries },
  });

  test.each<[string, Record<string, BuiltFile>, object, RegExp]>([
    [
      "swapped shards",
      { ...sound, [second]: sound[third] as BuiltFile, [third]: sound[second] as BuiltFile },
      { code: "mismatch", path: expect.stringMatching(/-0000[23]-of-/) },
      /its name says shard (2 of 3, its "split.no" shard 3|3 of 3, its "split.no" shard 2)/,
    ],
    [
      "a shard of a split with another count",
      withEntries(second, uint16("split.no", 1), uint16("split.count", 2)),
      { code: "mismatch", path: second },
      /shard 2 of 3, its "split.count" is 2/,
    ],
    [
      "a shard of a split of more tensors",
      withEntries(third, uint16("split.no", 2), int32("split.tensors.count", 5)),
      { code: "mismatch", path: third },
      /its "split.tensors.count" is 5, that of "m-00001-of-00003.gguf" 4/,
    ],
    [
      "another number of tensors than shard 1 says",
      withEntries(first, uint16("split.no", 0), uint16("split.count", 3), int32("split.tensors.count", 5)),
      { code: "mismatch", path: first },
      /is 5, the 3 shards have 4/,
    ],
    [
      "a negative number of tensors",
      withEntries(first, uint16("split.no", 0), uint16("split.count", 3), int32("split.tensors.count", -4)),
      { code: "mismatch", path: first },
      /is -4/,
    ],
    [
      "a first shard without a count of tensors",
      withEntries(first, uint16("split.no", 0), uint16("split.count", 3)),
      { code: "malformed", path: first },
      /no "split.tensors.count"/,
    ],
    [
      "a first shard without a count of shards",
      withEntries(first, uint16("split.no", 0), int32("split.tensors.count", 4)),
      { code: "malformed", path: first },
      /no "split.count"/,
    ],
    [
      "a first shard of another count than its name says",
      withEntries(first, uint16("split.no", 0), uint16("split.count", 2), int32("split.tensors.count", 4)),
      { code: "mismatch", path: first },
      /shard 1 of 3, its "split.count" is 2/,
    ],
    [
      "a shard that does not say its number",
      withEntries(second, text("general.name", "m")),
      { code: "malformed", path: second },
      /shard 2 of 3, and it has no "split.no"/,
    ],
    // On these llama.cpp ends the whole process.
    [
      "a split.no that is no uint16",
      withEntries(second, uint32("split.no", 1)),
      { code: "malformed", path: second },
      /"split.no" is of type uint32, not uint16/,
    ],
    [
      "a split.count that is no uint16",
      withEntries(first, uint16("split.no", 0), uint32("split.count", 3), int32("split.tensors.count", 4)),
      { code: "malformed", path: first },
      /"split.count" is of type uint32, not uint16/,
    ],
    [
      "a split.count that is an array",
      withEntries(
        first,
        array("split.count", TYPE.uint16, 1, (out) => out.integer(3, 2)),
      ),
      { code: "malformed", path: first },
      /"split.count" is of type array/,
    ],
    [
      "a tensor in two shards",
      shards("m", [[floats("a", 8)], [floats("b", 8)], [floats("c", 8), floats("a", 8)]]),
      { code: "duplicate", path: third, tensor: "a" },
      /GGUF tensor "a" of "m-00003-of-00003.gguf": "m-00001-of-00003.gguf" has it too/,
    ],
    [
      "a count of tensors that is no int32",
      withEntries(first, uint16("split.no", 0), uint16("split.count", 3), uint32("split.tensors.count", 4)),
      { code: "malformed", path: first },
      /"split.tensors.count" is of type uint32, not int32/,
    ],
  ])("refuses %s", async (_, spec, fields, message) => {
    for (const given of [[first], [first, second, third], [third, second, first]]) {
      const error = await refusal(read(build(spec), given));
      expect(error).toMatchObject(fields);
      expect(error.message).toMatch(message);
    }
  });

  test.each<[string, string, BuiltEntry[]]>([
    ["the first", "model.gguf", [uint16("split.no", 0), uint16("split.count", 2)]],
    ["a later one", "model.gguf", [uint16("split.no", 1)]],
    ["one of a name in capitals", "M-00001-OF-00002.GGUF", [uint16("split.no", 0), uint16("split.count", 2)]],
  ])("refuses a shard that is not named as one: %s", async (_, path, entries) => {
    expect(await refusal(read(build({ [path]: { entries } })))).toMatchObject({
      code: "bad-name",
      path,
      hint: expect.stringContaining("NAME-00001-of-0000N.gguf"),
    });
  });

  test("refuses a split.no that is no uint16 in a file that is no shard", async () => {
    const error = await refusal(read(build({ "m.gguf": { entries: [text("split.no", "0")] } })));
    expect(error).toMatchObject({ code: "malformed", message: /"split.no" is of type string/ });
  });

  test("refuses two splits of one name", async () => {
    const spec = { ...shards("m", [[], []]), ...shards("m", [[], [], []]) };
    expect(await refusal(read(build(spec)))).toMatchObject({ code: "duplicate" });
  });

  test("refuses a damaged shard that it found itself", async () => {
    const cut = { ...files, [three[1] as string]: (files[three[1] as string] as Uint8Array).slice(0, 300) };
    expect(await refusal(read(cut, three.slice(0, 1)))).toMatchObject({
      code: "size-mismatch",
      path: three[1],
      tensor: "blk.2.attn_q.weight",
    });
  });

  test("stops at the first shard that is missing, however many are announced", async () => {
    const spec: BuiltFile = {
      entries: [uint16("split.no", 0), uint16("split.count", 65_535), int32("split.tensors.count", 0)],
    };
    const error = await refusal(read(build({ "m-00001-of-65535.gguf": spec })));
    expect(error).toMatchObject({ code: "not-found", path: "m-00002-of-65535.gguf" });
  });
});

describe("readGgufHeader()", () => {
  /** A file that goes on with zeros for as long as it is said to. */
  const sparse = (bytes: Uint8Array, size: number): ByteSource => ({
    name: "sparse.gguf",
    size,
    async read(offset, length) {
      const piece = new Uint8Array(length);
      piece.set(bytes.subarray(offset, offset + length));
      return piece;
    },
  });

  test("reads only the header of 10 GB", async () => {
    const tensors = [0, 1, 2, 3, 4].map((nth) => {
      return { name: `blk.${nth}.ffn_up.weight`, dims: [2 ** 20, 512], type: 0, size: 2 ** 31 };
    });
    const { bytes } = buildGguf({ tensors, data: 0 });
    const source = countingSource(sparse(bytes, bytes.length + 5 * 2 ** 31));
    const draft = await readGguf([{ path: "sparse.gguf", source }], folderOf({}));
    expect(draft.methods[0]?.weights[4]?.at).toEqual({
      file: 0,
      offset: bytes.length + 4 * 2 ** 31,
      length: 2 ** 31,
    });
    expect(source.reads).toEqual([{ offset: 0, length: 128 * 1024 }]);
  });

  test("reads a long header in pieces that grow, none twice", async () => {
    const words = Uint8Array.from({ length: 3_000_000 }, (_, at) =>
      at % 10 === 0 ? 2 : at % 10 < 8 ? 0 : 65,
    );
    const { bytes } = buildGguf({
      entries: [array("tokenizer.ggml.tokens", TYPE.string, 300_000, (out) => out.raw(words))],
      tensors: [floats("a", 8)],
    });
    const source = countingSource(sparse(bytes, 2 ** 33));
    const header = await readGgufHeader(source);
    expect(header.tensors).toMatchObject([{ name: "a", offset: bytes.length - 32 }]);
    let end = 0;
    for (const { offset, length } of source.reads) {
      expect(offset).toBe(end);
      end += length;
    }
    expect(source.reads.length).toBeLessThan(5);
    expect(source.bytes).toBeLessThan(4 * bytes.length);
  });

  test.each([
    ["a key", { entries: [["k".repeat(9), TYPE.string, (out) => out.text("", 2 ** 40)]] }],
    ["an array", { entries: [array("k", TYPE.string, 2 ** 40, () => {})] }],
  ] as [string, BuiltFile][])("refuses %s that goes on for a terabyte", async (_, spec) => {
    const source = countingSource(sparse(buildGguf(spec).bytes, 2 ** 45));
    expect(await refusal(readGgufHeader(source))).toMatchObject({ code: "too-large", path: "sparse.gguf" });
    expect(source.bytes).toBe(128 * 1024 * 1024);
  });

  test("reads a file of nothing, and refuses an empty one", async () => {
    expect((await readGgufHeader(memorySource(buildGguf().bytes))).tensors).toEqual([]);
    const error = await refusal(readGgufHeader(memorySource(new Uint8Array(0), "e.gguf")));
    expect(error).toMatchObject({ code: "malformed", path: "e.gguf", offset: 0 });
  });

  test("passes the signal on, and errors of the source", async () => {
    const reason = new Error("enough");
    const source = memorySource(fixture("lora.gguf"));
    await expect(readGgufHeader(source, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
