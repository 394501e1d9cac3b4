import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../../src/io/byte-source.ts";
import { VarintDecoder } from "../../../src/io/varint-array.ts";
import { SparseBytes } from "../../../src/encodings/protobuf/sparse-bytes.ts";
import type { ModelFolder } from "../../../src/formats/format.ts";
import { parseOnnx } from "../../../src/formats/onnx/parse.ts";
import { readOnnx } from "../../../src/formats/onnx/read.ts";
import type { ModelDraft, WeightDraft } from "../../../src/model/draft.ts";
import { BLOCK_ELEMENTS, DTYPE_BITS } from "../../../src/tensor/dtype.ts";
import { openFileSource } from "../../../src/node/file-source.ts";
import { CHARLM_GRAPHS, CHARLM_MODELS, charlm } from "../../support/charlm.ts";
import { countingSource } from "../../support/counting-source.ts";
import {
  constant,
  DATA_FIELD,
  DATA_TYPE,
  type Data,
  floats,
  func,
  graph,
  ints,
  type Message,
  model,
  node,
  type OnnxDType,
  sparseTensor,
  tensor,
  value,
} from "../../support/onnx-builder.ts";
import { EVERYTHING } from "../../support/onnx-everything.ts";
import { LONG } from "../../support/speed.ts";

/** A folder in memory. */
function folderOf(files: Readonly<Record<string, Uint8Array | ByteSource>>): ModelFolder {
  return {
    async open(path) {
      const file = files[path];
      return file instanceof Uint8Array ? memorySource(file, path) : file;
    },
  };
}

function read(
  bytes: Uint8Array,
  files: Readonly<Record<string, Uint8Array | ByteSource>> = {},
): Promise<ModelDraft> {
  return readOnnx([{ path: "m.onnx", source: memorySource(bytes, "m.onnx") }], folderOf(files));
}

/** A model of one graph that holds nothing but these tensors. */
function holding(...initializers: Message[]): Uint8Array {
  return model({
    graph: graph({
      initializers,
      nodes: [node("Identity", ["x"], ["y"])],
      inputs: [value("x", "float32", [2])],
      outputs: [value("y", "float32", [2])],
    }),
  });
}

/** A weight's bytes as its digest is of: little-endian, row-major. */
async function contentOf(draft: ModelDraft, { at }: WeightDraft): Promise<Uint8Array> {
  const source = draft.files[at.file]?.source as ByteSource;
  const bytes = await source.read(at.offset, at.length);
  if (!at.varint) return bytes;
  const decoder = new VarintDecoder(at.varint, source.name, at.offset);
  const decoded = decoder.decode(bytes);
  decoder.end();
  return decoded;
}

function weightsOf(draft: ModelDraft): string[] {
  return draft.methods.flatMap((method) => method.weights.map((weight) => weight.name));
}

function repeat(value: number, count: number): number[] {
  return Array.from({ length: count }, () => value);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describe("readOnnx() of models that the onnx package wrote", () => {
  const fixtures = new URL("../../../fixtures/onnx/", import.meta.url);
  interface Expected {
    readonly name: string;
    readonly dtype: string;
    readonly shape: number[];
    readonly sha256: string;
  }
  const expected: Record<string, Expected[]> = JSON.parse(
    readFileSync(new URL("expected.json", fixtures), "utf8"),
  );

  test.each(Object.keys(expected))("finds exactly the weights of %s", async (path) => {
    const home = new URL(path, fixtures);
    const folder: ModelFolder = {
      async open(name) {
        const url = new URL(name, home);
        return existsSync(url) ? memorySource(await readFile(url), name) : undefined;
      },
    };
    const draft = await readOnnx(
      [{ path: "m.onnx", source: memorySource(await readFile(home), path) }],
      folder,
    );
    const found: Expected[] = [];
    for (const weight of draft.methods[0]?.weights ?? []) {
      const { name, dtype, shape } = weight;
      found.push({ name, dtype, shape: [...shape], sha256: sha256(await contentOf(draft, weight)) });
    }
    const byName = (a: Expected, b: Expected): number => (a.name < b.name ? -1 : 1);
    expect(found.sort(byName)).toEqual(expected[path]?.toSorted(byName));
  });

  test("covers every data type and form of storage", () => {
    const dtypes = new Set(
      Object.values(expected).flatMap((weights) => weights.map((weight) => weight.dtype)),
    );
    // ggml's block types are not ONNX's.
    const elementTypes = Object.keys(DTYPE_BITS).filter((dtype) => !(dtype in BLOCK_ELEMENTS));
    expect([...dtypes].sort()).toEqual(elementTypes.sort());
    expect(Object.keys(expected).length).toBe(9);
  });
});

describe("readOnnx() of every data type", () => {
  const dtypes = Object.keys(DATA_TYPE).filter((dtype) => dtype !== "string") as Exclude<
    OnnxDType,
    "string"
  >[];
  const shape = [5, 3];

  /** Bytes of a tensor, and its elements as a typed field has them. */
  function elements(dtype: Exclude<OnnxDType, "string">): { bytes: Uint8Array; typed: (number | bigint)[] } {
    const bytes = Uint8Array.from({ length: Math.ceil((15 * DTYPE_BITS[dtype]) / 8) }, (_, index) =>
      dtype === "bool" ? index % 2 : (index * 73 + 41) % 127,
    );
    // The sign bit of the first element.
    if (dtype.startsWith("int")) bytes[Math.max(1, DTYPE_BITS[dtype] / 8) - 1] = 0xf0;
    const { buffer } = bytes;
    const typed = (): ArrayLike<number | bigint> => {
      switch (dtype) {
        case "float32":
        case "complex64":
          return new Float32Array(buffer);
        case "float64":
        case "complex128":
          return new Float64Array(buffer);
        case "int8":
          return new Int8Array(buffer);
        case "int16":
          return new Int16Array(buffer);
        case "uint16":
        case "float16":
        case "bfloat16":
          return new Uint16Array(buffer);
        case "int32":
          return new Int32Array(buffer);
        case "uint32":
          return new Uint32Array(buffer);
        case "int64":
          return new BigInt64Array(buffer);
        case "uint64":
          return new BigUint64Array(buffer);
        default:
          return bytes;
      }
    };
    return { bytes, typed: Array.from(typed()) };
  }

  const sixBit = (dtype: string): boolean => dtype.startsWith("float6");

  test.each(dtypes)("finds %s in raw_data, packed and in another file", async (dtype) => {
    const { bytes, typed } = elements(dtype);
    const length = bytes.length;
    const forms: Record<string, Data> = {
      raw: { raw: bytes },
      ...(!sixBit(dtype) && { packed: { packed: typed } }),
      external: { external: { location: "w.bin", offset: 7, length } },
      "external without length": { external: { location: "w.bin", offset: 7 } },
      "external without offset": { external: { location: "own.bin", length } },
      "external without either": { external: { location: "own.bin" } },
    };
    const draft = await read(
      holding(...Object.entries(forms).map(([name, data]) => tensor(name, dtype, shape, data))),
      {
        "w.bin": Buffer.concat([Buffer.alloc(7, 0xee), bytes, Buffer.alloc(9)]),
        "own.bin": bytes,
      },
    );
    expect(weightsOf(draft)).toEqual(Object.keys(forms));
    for (const weight of draft.methods[0]?.weights ?? []) {
      expect(weight).toMatchObject({ dtype, shape });
      expect([weight.name, ...(await contentOf(draft, weight))]).toEqual([weight.name, ...bytes]);
    }
  });

  test.each(dtypes)("leaves %s in the program where its field is not packed", async (dtype) => {
    const { typed } = elements(dtype);
    const unpacked = sixBit(dtype) ? repeat(5, 15) : typed;
    const draft = await read(holding(tensor("w", dtype, shape, { unpacked })));
    expect(weightsOf(draft)).toEqual([]);
    await expect(
      read(holding(tensor("w", dtype, shape, { unpacked: unpacked.slice(1) }))),
    ).rejects.toMatchObject({ code: "size-mismatch", tensor: "w" });
  });

  test.each(dtypes)("refuses %s of another size than its shape", async (dtype) => {
    const { bytes, typed } = elements(dtype);
    const sizes: Data[] = [
      { raw: bytes.subarray(1) },
      { raw: Buffer.concat([bytes, Buffer.alloc(1)]) },
      { external: { location: "w.bin", length: bytes.length + 1 } },
      { external: { location: "w.bin", length: bytes.length - 1 } },
      { external: { location: "w.bin", offset: 1 } },
    ];
    for (const data of sizes) {
      await expect(read(holding(tensor("w", dtype, shape, data)), { "w.bin": bytes })).rejects.toMatchObject({
        name: "FormatError",
        code: "size-mismatch",
        tensor: "w",
      });
    }
    const few = { packed: typed.slice(0, 1) };
    await expect(read(holding(tensor("w", dtype, [500, 3], few)))).rejects.toMatchObject({
      code: "size-mismatch",
      tensor: "w",
    });
  });

  test.each(dtypes)("refuses %s in a field of another type", async (dtype) => {
    const right = { float: ["float32", "complex64"], double: ["float64", "complex128"], int64: ["int64"] };
    for (const [field, fits] of Object.entries(right) as ["float" | "double" | "int64", string[]][]) {
      if (fits.includes(dtype)) continue;
      const data: Data = { packed: repeat(1, 15), field };
      await expect(read(holding(tensor("w", dtype, shape, data)))).rejects.toMatchObject({
        code: "malformed",
        tensor: "w",
      });
    }
  });

  test.each([0, 29, 1000])("refuses data type %d, which nobody knows", async (dataType) => {
    await expect(read(holding(tensor("w", dataType, [2], { raw: new Uint8Array(8) })))).rejects.toMatchObject(
      {
        code: "unsupported",
        tensor: "w",
      },
    );
  });
});

describe("readOnnx() tells weights from constants", () => {
  test("one element stays in the program, two do not", async () => {
    const draft = await read(
      holding(
        tensor("scalar", "float32", [], floats(1)),
        tensor("one", "float32", [1, 1], floats(1)),
        tensor("none", "float32", [0, 4], { none: true }),
        tensor("none.raw", "float32", [4, 0], { raw: new Uint8Array(0) }),
        tensor("two", "float32", [2], floats(1, 2)),
        tensor("int", "int32", [2], { packed: [1, 2] }),
      ),
    );
    expect(weightsOf(draft)).toEqual(["two", "int"]);
  });

  test("an int64 vector of up to 64 elements stays, and so does what an operator reads as a shape", async () => {
    const many = (count: number): Data => ints(...Array.from({ length: count }, (_, index) => index));
    const initializers = [
      tensor("vector64", "int64", [64], many(64)),
      tensor("vector65", "int64", [65], many(65)),
      tensor("matrix", "int64", [2, 2], many(4)),
      tensor("scales", "float32", [4], floats(1, 1, 2, 2)),
      tensor("long.shape", "int64", [70], many(70)),
      tensor("starts", "int32", [2], { packed: [0, 0] }),
      tensor("other.domain", "float32", [2], floats(1, 2)),
      tensor("inner", "float32", [2], floats(1, 2)),
    ];
    const inner = graph({
      nodes: [node("Resize", ["x", "", "inner"], ["o"])],
      outputs: [value("o", "float32")],
    });
    const draft = await read(
      model({
        graph: graph({
          initializers,
          nodes: [
            node("Resize", ["x", "", "scales"], ["a"]),
            node("Reshape", ["a", "long.shape"], ["b"]),
            node("ai.onnx::Slice", ["b", "starts", "ends"], ["c"]),
            node("elsewhere::Reshape", ["c", "other.domain"], ["y"]),
            node("If", ["q"], ["z"], { then_branch: { graph: inner }, else_branch: { graph: inner } }),
          ],
        }),
      }),
    );
    expect(weightsOf(draft)).toEqual(["vector65", "matrix", "other.domain"]);
  });

  test("what a node in a function reads as a shape stays too", async () => {
    const nodes = [
      constant("s", tensor("", "float32", [4], floats(1, 1, 2, 2))),
      node("Resize", ["in", "", "s"], ["out"]),
    ];
    const functions = [func({ domain: "d", name: "F", inputs: ["in"], outputs: ["out"], nodes })];
    expect(weightsOf(await read(model({ functions, graph: graph({}) })))).toEqual([]);
  });

  test("strings and tensors in other attributes stay, those in other files as constants", async () => {
    const draft = await read(
      model({
        graph: graph({
          initializers: [
            tensor("names", "string", [4], { strings: ["a", "", "", "d"] }),
            tensor("blanks", "string", [2], { strings: ["", ""] }),
            tensor("shape", "int64", [2], { external: { location: "w.bin" } }),
            tensor("eps", "float32", [], { external: { location: "w.bin", offset: 16 } }),
          ],
          nodes: [
            node("ai.onnx.ml::LabelEncoder", ["x"], ["y"], {
              keys_tensor: { tensor: tensor("k", "float32", [2], floats(1, 2)) },
              values_tensor: {
                tensor: tensor("v", "float32", [2], { external: { location: "w.bin", offset: 20 } }),
              },
            }),
          ],
        }),
      }),
      { "w.bin": new Uint8Array(28) },
    );
    expect(draft.methods[0]).toMatchObject({
      weights: [],
      constants: [
        {
          name: "#0.values_tensor/v",
          dtype: "float32",
          shape: [2],
          at: { file: 1, offset: 20, length: 8 },
        },
        { name: "shape", dtype: "int64", shape: [2], at: { file: 1, offset: 0, length: 16 } },
        { name: "eps", dtype: "float32", shape: [], at: { file: 1, offset: 16, length: 4 } },
      ],
    });
  });

  test("names weights by where they are, and the same model always alike", async () => {
    const w = tensor("w", "float32", [2], floats(1, 2));
    const branch = (name: string): Message =>
      graph({ initializers: [w], nodes: [constant("c", w), node("Add", ["w", "c"], [name])] });
    const body = graph({
      nodes: [
        node("If", ["q"], ["o"], {
          then_branch: { graph: branch("o") },
          else_branch: { graph: branch("o") },
        }),
      ],
    });
    const draft = await read(
      model({
        functions: [
          func({ domain: "d", name: "F", inputs: [], outputs: ["o"], nodes: [constant("o", w)] }),
          func({
            domain: "d",
            name: "F",
            overload: "two",
            inputs: [],
            outputs: ["o"],
            nodes: [constant("o", w)],
          }),
          func({
            domain: "d",
            name: "G",
            inputs: ["q"],
            outputs: ["o"],
            nodes: [
              node("If", ["q"], ["o"], {
                then_branch: { graph: branch("o") },
                else_branch: { graph: branch("o") },
              }),
            ],
          }),
        ],
        training: [
          { initialization: graph({ initializers: [w] }) },
          { initialization: graph({ initializers: [w] }), algorithm: graph({ initializers: [w] }) },
        ],
        graph: graph({
          initializers: [w],
          nodes: [node("Loop", ["", "", "w"], ["y"], { body: { graph: body } }), constant("c", w)],
        }),
      }),
    );
    expect(weightsOf(draft)).toEqual([
      "training#0.initialization/w",
      "training#1.initialization/w",
      "training#1.algorithm/w",
      "d::F/o",
      "d::F:two/o",
      "d::G/#0.then_branch/c",
      "d::G/#0.then_branch/w",
      "d::G/#0.else_branch/c",
      "d::G/#0.else_branch/w",
      "#0.body/#0.then_branch/c",
      "#0.body/#0.then_branch/w",
      "#0.body/#0.else_branch/c",
      "#0.body/#0.else_branch/w",
      "c",
      "w",
    ]);
  });
});

describe("readOnnx() of external data", () => {
  const w = (name: string, location: string, offset?: number): Message =>
    tensor(name, "float32", [2], { external: { location, ...(offset !== undefined && { offset }) } });

  test("opens each file once, whichever tensor and graph of the model names it", async () => {
    const opened: string[] = [];
    const folder: ModelFolder = {
      async open(path) {
        opened.push(path);
        return memorySource(new Uint8Array(64), path);
      },
    };
    const file = (path: string, ...tensors: Message[]) => ({
      path,
      source: memorySource(holding(...tensors), path),
    });
    const draft = await readOnnx(
      [
        file("a.onnx", w("one", "shared.bin"), w("two", "./shared.bin", 8)),
        file("b.onnx", w("one", "shared.bin"), w("own", "sub/b.bin", 16)),
      ],
      folder,
    );
    expect(opened).toEqual(["shared.bin", "sub/b.bin"]);
    expect(draft.files.map((each) => each.path)).toEqual(["a.onnx", "b.onnx", "shared.bin", "sub/b.bin"]);
    expect(draft.methods.map(({ name, file }) => ({ name, file }))).toEqual([
      { name: "a", file: 0 },
      { name: "b", file: 1 },
    ]);
    expect(draft.methods[1]?.weights.map((weight) => weight.at)).toEqual([
      { file: 2, offset: 0, length: 8 },
      { file: 3, offset: 16, length: 8 },
    ]);
  });

  test("says which file is not there, and what would help", async () => {
    await expect(read(holding(w("w", "lost.bin")))).rejects.toMatchObject({
      name: "FormatError",
      code: "not-found",
      path: "lost.bin",
      tensor: "w",
      hint: expect.any(String),
    });
  });

  test("refuses a tensor past the end of its file", async () => {
    const files = { "w.bin": new Uint8Array(15) };
    expect(weightsOf(await read(holding(w("w", "w.bin", 7)), files))).toEqual(["w"]);
    await expect(read(holding(w("w", "w.bin", 8)), files)).rejects.toMatchObject({
      code: "size-mismatch",
      path: "w.bin",
      tensor: "w",
      offset: 8,
    });
  });

  test.each([
    ["an offset over 2^53", { offset: "9007199254740993" }, "malformed"],
    ["an offset of 17 digits", { offset: "10000000000000000" }, "malformed"],
    ["an end over 2^53", { offset: String(Number.MAX_SAFE_INTEGER) }, "malformed"],
    ["an end of 2^53 past the file", { offset: String(Number.MAX_SAFE_INTEGER - 8) }, "size-mismatch"],
    ["a negative offset", { offset: "-8" }, "malformed"],
    ["an offset in hexadecimal", { offset: "0x8" }, "malformed"],
    ["an empty offset", { offset: "" }, "malformed"],
    ["a length of 2^64", { length: "18446744073709551616" }, "malformed"],
    ["another length", { length: "16" }, "size-mismatch"],
    ["no location", { location: "" }, "malformed"],
  ])("refuses %s", async (_, entries, code) => {
    const external = { location: "w.bin", ...entries };
    const bytes = holding(tensor("w", "float32", [2], { external }));
    await expect(read(bytes, { "w.bin": new Uint8Array(64) })).rejects.toMatchObject({ code, tensor: "w" });
  });

  test("refuses data in a model file itself", async () => {
    await expect(read(holding(w("w", "m.onnx")))).rejects.toMatchObject({ code: "unsupported", tensor: "w" });
  });

  test("lets other entries pass", async () => {
    const external = { location: "w.bin", checksum: "0".repeat(40), prepacked_0: "x|0;8;0" };
    const draft = await read(holding(tensor("w", "float32", [2], { external })), {
      "w.bin": new Uint8Array(8),
    });
    expect(weightsOf(draft)).toEqual(["w"]);
  });

  test("reads a model with 10 GB of weights as fast as its graph", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tare-onnx-"));
    try {
      const handle = await open(join(folder, "w.bin"), "w");
      await handle.truncate(10 * 2 ** 30);
      await handle.close();
      const bytes = holding(
        ...Array.from({ length: 10 }, (_, index) =>
          tensor(`w${index}`, "float32", [2 ** 14, 2 ** 14], {
            external: { location: "w.bin", offset: index * 2 ** 30 },
          }),
        ),
      );
      await using file = await openFileSource(join(folder, "w.bin"));
      const data = countingSource(file);
      const program = countingSource(memorySource(bytes, "m.onnx"));
      const draft = await readOnnx([{ path: "m.onnx", source: program }], folderOf({ "w.bin": data }));
      expect(weightsOf(draft).length).toBe(10);
      expect(program.bytes).toBe(bytes.length);
      expect(data.reads).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("reads a model with 2 GB of weights inside as fast as its graph", async () => {
    const size = 2 ** 30;
    const header = (field: number, length: number): Uint8Array =>
      new BinaryWriter().tag(field, WireType.LengthDelimited).uint32(length).finish();
    const tensors = ["a", "b"].map((name) => {
      const head = tensor(name, "uint8", [size], { none: true });
      const payload = header(DATA_FIELD.raw, size);
      return Buffer.concat([header(5, head.length + payload.length + size), head, payload]);
    });
    const rest = graph({ nodes: [node("Identity", ["a"], ["y"])] });
    const length = 2 * size + rest.length + tensors.reduce((sum, each) => sum + each.length, 0);
    const parts = [Buffer.concat([header(7, length), tensors[0] as Buffer]), tensors[1] as Buffer, rest];
    const starts: number[] = [];
    let end = 0;
    for (const part of parts) {
      starts.push(end);
      end += part.length + size;
    }
    const total = end - size;
    const source: ByteSource = {
      name: "big.onnx",
      size: total,
      async read(offset, wanted) {
        const bytes = new Uint8Array(wanted);
        parts.forEach((part, index) => {
          const from = Math.max(offset, starts[index] as number);
          const to = Math.min(offset + wanted, (starts[index] as number) + part.length);
          if (from < to)
            bytes.set(
              part.subarray(from - (starts[index] as number), to - (starts[index] as number)),
              from - offset,
            );
        });
        return bytes;
      },
    };
    const counting = countingSource(source);
    const draft = await readOnnx([{ path: "big.onnx", source: counting }], folderOf({}));
    expect(draft.methods[0]?.weights.map(({ name, at }) => [name, at.length])).toEqual([
      ["a", size],
      ["b", size],
    ]);
    expect(counting.bytes).toBeLessThan(16_384);
  });
});

describe("readOnnx() of charlm", () => {
  test("finds one program for each graph, and in both graphs the same weights", async () => {
    const folder = await charlm();
    const programs = new Set<string>();
    for (const name of CHARLM_MODELS) {
      const digests: string[][] = [];
      for (const graphName of CHARLM_GRAPHS) {
        await using file = await openFileSource(join(folder, name, `${graphName}.onnx`));
        const source = countingSource(file);
        const draft = await readOnnx([{ path: `${graphName}.onnx`, source }], folderOf({}));
        expect(source.bytes).toBeLessThan(800_000);
        const weights = draft.methods[0]?.weights ?? [];
        expect(weights.length).toBe(53);
        expect(weights.every((weight) => weight.dtype === "float32")).toBe(true);

        const rest = createHash("sha256");
        let at = 0;
        const contents: string[] = [];
        for (const weight of weights.toSorted((a, b) => a.at.offset - b.at.offset)) {
          rest.update(await file.read(at, weight.at.offset - at));
          at = weight.at.offset + weight.at.length;
          contents.push(sha256(await file.read(weight.at.offset, weight.at.length)));
        }
        programs.add(rest.update(await file.read(at, file.size - at)).digest("hex"));
        digests.push(contents.sort());
      }
      expect(digests[0]).toEqual(digests[1]);
    }
    expect(programs.size).toBe(CHARLM_GRAPHS.length);
  });
});

describe("readOnnx() of bad input", () => {
  const files = { "w.bin": new Uint8Array(9) };

  test("finds every weight of a model with one of everything", async () => {
    expect(weightsOf(await read(EVERYTHING, files)).length).toBe(14);
  });

  test("survives random bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        await expect(read(bytes)).rejects.toMatchObject({ name: "FormatError" });
      }),
      { numRuns: 1000 },
    );
  });

  test("refuses an empty file and one that is no model", async () => {
    for (const bytes of [
      new Uint8Array(0),
      Buffer.from("PK\u0003\u0004 this is a zip file"),
      new Uint8Array(5000),
    ]) {
      await expect(read(bytes)).rejects.toMatchObject({
        name: "FormatError",
        code: "malformed",
        path: "m.onnx",
      });
    }
  });

  test("refuses graphs nested 10,000 deep", async () => {
    // From the inside out: each level is a graph in the attribute of a node of the next.
    let inner: Uint8Array = new BinaryWriter().tag(2, WireType.LengthDelimited).string("g").finish();
    const parts: Uint8Array[] = [];
    let length = inner.length;
    for (let level = 0; level < 10_000; level++) {
      for (const field of [6, 5, 1]) {
        const header = new BinaryWriter().tag(field, WireType.LengthDelimited).uint32(length).finish();
        parts.push(header);
        length += header.length;
      }
    }
    parts.push(new BinaryWriter().tag(7, WireType.LengthDelimited).uint32(length).finish());
    inner = Buffer.concat([...parts.reverse(), inner]);
    await expect(read(inner)).rejects.toMatchObject({ code: "malformed", path: "m.onnx" });
    expect(() => parseOnnx(new SparseBytes("m.onnx", inner))).toThrow(
      expect.objectContaining({ code: "malformed", message: expect.stringContaining("32 deep") }),
    );
  });

  test("reads graphs nested 31 deep", async () => {
    let inner = graph({ initializers: [tensor("w", "float32", [2000], { raw: new Uint8Array(8000) })] });
    for (let level = 0; level < 31; level++) {
      inner = graph({ nodes: [node("If", ["q"], [], { then_branch: { graph: inner } })] });
    }
    const draft = await read(model({ graph: inner }));
    expect(weightsOf(draft)).toEqual([`${"#0.then_branch/".repeat(31)}w`]);
  });

  test.each([
    ["[-1, 2]", [-1, 2]],
    ["[-2, -2]", [-2, -2]],
    ["2^53 elements", [2 ** 53]],
    ["2^64 elements", [2n ** 32n, 2n ** 32n]],
    ["2^64 + 2 elements", [2n ** 63n - 1n, 2n, 2n]],
    ["2^53 bytes", [2 ** 51, 2]],
    ["2^80 elements, then none", [2 ** 40, 2 ** 40, 0]],
  ])("refuses a shape of %s", async (_, dims) => {
    for (const data of [{ raw: new Uint8Array(8) }, { external: { location: "w.bin" } }] as Data[]) {
      await expect(
        read(holding(tensor("w", "float32", dims as number[], data)), files),
      ).rejects.toMatchObject({
        code: "size-mismatch",
        tensor: "w",
      });
    }
  });

  test("refuses millions of dimensions at once", LONG, async () => {
    const dims = repeat(1, 3_000_000);
    for (const packedDims of [true, false]) {
      await expect(
        read(holding(tensor("w", "float32", dims, floats(1), { packedDims }))),
      ).rejects.toMatchObject({
        code: "malformed",
        tensor: "w",
        message: expect.stringContaining("64 dimensions"),
      });
    }
  });

  test("counts millions of loose elements without keeping them", LONG, async () => {
    const unpacked = repeat(1, 1_000_000);
    expect(weightsOf(await read(holding(tensor("w", "float32", [1000, 1000], { unpacked }))))).toEqual([]);
  });

  test("refuses values of millions of dimensions, and tensors of millions of entries", async () => {
    const shape = repeat(1, 1_000_000);
    const values = graph({ inputs: [value("x", "float32", shape)] });
    await expect(read(model({ graph: values }))).rejects.toMatchObject({ code: "malformed" });
    const external = Object.fromEntries(
      Array.from({ length: 100_000 }, (_, index) => [`key${index}`, index]),
    );
    await expect(read(holding(tensor("w", "float32", [2], { external })))).rejects.toMatchObject({
      code: "malformed",
    });
  });

  test("refuses a graph of more parts than memory has room for", LONG, async () => {
    const parts = new Uint8Array(2 * 4_000_001);
    // Empty nodes: field 1, length 0.
    for (let at = 0; at < parts.length; at += 2) parts[at] = 0x0a;
    await expect(read(model({ graph: parts }))).rejects.toMatchObject({ code: "too-large", path: "m.onnx" });
  });

  test("refuses tensors whose names repeat a long one around them", async () => {
    // A megabyte, that each of the 20,000 would have in its name.
    const weights = Array.from({ length: 20_000 }, (_, nth) =>
      tensor(`${nth}`, "uint8", [2], { raw: Uint8Array.of(1, 2) }),
    );
    const holder = node("If", ["q"], [], {
      ["a".repeat(1_000_000)]: { graph: graph({ initializers: weights }) },
    });
    await expect(read(model({ graph: graph({ nodes: [holder] }) }))).rejects.toMatchObject({
      code: "too-large",
      path: "m.onnx",
    });
  });

  test("passes over millions of numbers in an attribute", async () => {
    const floatsOf = { floats: repeat(1.5, 1_000_000) };
    const trees = node("ai.onnx.ml::TreeEnsembleRegressor", ["x"], ["y"], { nodes_values: floatsOf });
    expect(weightsOf(await read(model({ graph: graph({ nodes: [trees] }) })))).toEqual([]);
  });

  test("refuses data in two places", async () => {
    const one = tensor("w", "float32", [2], floats(1, 2));
    const join = (...parts: Uint8Array[]): Uint8Array => Buffer.concat(parts);
    const again: [Uint8Array, string][] = [
      [new BinaryWriter().tag(9, WireType.LengthDelimited).bytes(new Uint8Array(8)).finish(), "malformed"],
      [new BinaryWriter().tag(4, WireType.LengthDelimited).bytes(new Uint8Array(8)).finish(), "malformed"],
      [new BinaryWriter().tag(14, WireType.Varint).int32(1).finish(), "malformed"],
      [new BinaryWriter().tag(3, WireType.LengthDelimited).bytes(new Uint8Array(0)).finish(), "unsupported"],
    ];
    for (const [more, code] of again) {
      await expect(read(holding(join(one, more)))).rejects.toMatchObject({ code, tensor: "w" });
    }
    const packed = tensor("w", "float32", [2], { packed: [1] });
    const second = new BinaryWriter().tag(4, WireType.LengthDelimited).bytes(new Uint8Array(4)).finish();
    await expect(read(holding(join(packed, second)))).rejects.toMatchObject({
      code: "unsupported",
      tensor: "w",
    });
    const loose = new BinaryWriter().tag(4, WireType.Bit32).float(2).finish();
    await expect(read(holding(join(packed, loose)))).rejects.toMatchObject({
      code: "unsupported",
      tensor: "w",
    });
  });

  test("refuses a tensor without data", async () => {
    await expect(read(holding(tensor("w", "float32", [2], { none: true })))).rejects.toMatchObject({
      code: "size-mismatch",
      tensor: "w",
    });
  });

  test("refuses elements of another wire type than their field's", async () => {
    const bad = Buffer.concat([
      tensor("w", "float32", [2], { none: true }),
      new BinaryWriter().tag(4, WireType.Varint).int32(1).tag(4, WireType.Varint).int32(1).finish(),
    ]);
    await expect(read(holding(bad))).rejects.toMatchObject({ code: "malformed" });
    const text = Buffer.concat([
      tensor("w", "string", [2], { strings: ["a"] }),
      new BinaryWriter().tag(6, WireType.Varint).int32(1).finish(),
    ]);
    await expect(read(holding(text))).rejects.toMatchObject({ code: "malformed" });
  });

  test("refuses two tensors of one name", async () => {
    const w = tensor("w", "float32", [2], floats(1, 2));
    await expect(read(holding(w, w))).rejects.toMatchObject({
      code: "duplicate",
      path: "m.onnx",
      tensor: "w",
    });
    const both = model({ graph: graph({ initializers: [w], nodes: [constant("w", w)] }) });
    await expect(read(both)).rejects.toMatchObject({ code: "duplicate", tensor: "w" });
    const sparse = sparseTensor(w, tensor("", "int64", [2], ints(0, 1)), [4]);
    const mixed = model({ graph: graph({ initializers: [w], sparse: [sparse] }) });
    await expect(read(mixed)).rejects.toMatchObject({ code: "duplicate", tensor: "w" });
    const branches = graph({ initializers: [w, w] });
    const inner = model({
      graph: graph({ nodes: [node("If", ["q"], [], { then_branch: { graph: branches } })] }),
    });
    await expect(read(inner)).rejects.toMatchObject({ code: "duplicate", tensor: "w" });
  });

  test("refuses a second main graph", async () => {
    const twice = Buffer.concat([holding(), holding()]);
    await expect(read(twice)).rejects.toMatchObject({ code: "malformed" });
  });

  test("refuses names that are not UTF-8", async () => {
    const bad = Buffer.concat([
      tensor("", "float32", [2], floats(1, 2)),
      new BinaryWriter().tag(8, WireType.LengthDelimited).bytes(Uint8Array.of(0xff, 0xfe)).finish(),
    ]);
    await expect(read(holding(bad))).rejects.toMatchObject({ code: "malformed" });
  });

  test("keeps names that objects have already", async () => {
    const names = ["__proto__", "constructor", "toString", "", "a/b", "ü"];
    const tensors = names.map((name) => tensor(name, "float32", [2], floats(1, 2)));
    expect(weightsOf(await read(holding(...tensors)))).toEqual(names);
  });
});
