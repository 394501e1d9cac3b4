import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../../src/io/byte-source.ts";
import { FlatbufferWriter } from "../../../src/encodings/flatbuffer/writer.ts";
import { FormatError } from "../../../src/errors.ts";
import { executorch } from "../../../src/formats/executorch/format.ts";
import { readData, readExecutorch, readProgram } from "../../../src/formats/executorch/read.ts";
import type { FileDraft, ModelDraft, WeightDraft } from "../../../src/model/draft.ts";
import { tensorBytes } from "../../../src/tensor/dtype.ts";
import { countingSource } from "../../support/counting-source.ts";
import { LONG } from "../../support/speed.ts";

const FIXTURES = new URL("../../../fixtures/executorch/", import.meta.url);
const fixture = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FIXTURES)));

interface ExpectedData {
  readonly sha256: string;
  readonly length: number;
  readonly layout: { readonly type: string; readonly sizes: number[]; readonly order: number[] } | null;
}
interface ExpectedProgram {
  readonly plans: Record<
    string,
    {
      tensors: (Omit<ExpectedData, "layout"> &
        NonNullable<ExpectedData["layout"]> & { name: string | null; external: boolean })[];
      delegates: { id: string; sha256: string }[];
      inputs: number;
      outputs: number;
    }
  >;
  readonly named: Record<string, string>;
}
const EXPECTED: Readonly<Record<string, unknown>> = Object.fromEntries(
  readFileSync(new URL("expected.jsonl", FIXTURES), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as [string, unknown]),
);
/** ExecuTorch's names of types, and those of dtypes. */
const TYPES: Readonly<Record<string, string>> = {
  BYTE: "uint8",
  CHAR: "int8",
  INT: "int32",
  LONG: "int64",
  HALF: "float16",
  FLOAT: "float32",
  DOUBLE: "float64",
  BOOL: "bool",
  BFLOAT16: "bfloat16",
  UINT64: "uint64",
  FLOAT8E4M3FN: "float8_e4m3fn",
};

type Files = Readonly<Record<string, Uint8Array>>;

async function read(files: Files, given: readonly string[] = Object.keys(files)): Promise<ModelDraft> {
  const opened = given.map((path) => ({ path, source: memorySource(files[path] as Uint8Array, path) }));
  return readExecutorch(opened, {
    async open(path) {
      return files[path] && memorySource(files[path], path);
    },
  });
}

const fixtures = (...names: string[]): Files =>
  Object.fromEntries(names.map((name) => [name, fixture(name)]));

async function refusal(reading: Promise<unknown>): Promise<FormatError> {
  const error = await reading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error as FormatError;
}

async function sha256(draft: ModelDraft, { at }: WeightDraft): Promise<string> {
  const { source } = draft.files[at.file] as FileDraft;
  return createHash("sha256")
    .update(await source.read(at.offset, at.length))
    .digest("hex");
}

/** What a layout gives here: plain bytes for what is not row-major. */
function layoutOf({ layout, length }: Omit<ExpectedData, "sha256">): { dtype: string; shape: number[] } {
  const inOrder = layout?.order.every((axis, nth) => axis === nth);
  if (!layout || !inOrder) return { dtype: "uint8", shape: [length] };
  return { dtype: TYPES[layout.type] as string, shape: layout.sizes };
}

const names = readdirSync(FIXTURES);

describe("readExecutorch()", () => {
  test("is the format of .pte and .ptd files", () => {
    expect(executorch).toMatchObject({ id: "executorch", extensions: [".pte", ".ptd"] });
  });

  test.each(names.filter((name) => name.endsWith(".ptd")))(
    "finds every key of %s, which ExecuTorch wrote",
    async (name) => {
      const expected = EXPECTED[name] as Record<string, ExpectedData>;
      const draft = await read(fixtures(name));
      expect(draft.methods).toMatchObject([{ name: name.replace(".ptd", ""), file: 0, constants: [] }]);
      const found: [string, unknown][] = [];
      for (const weight of draft.methods[0]?.weights ?? []) {
        expect(tensorBytes(weight.dtype, weight.shape)).toBe(weight.at.length);
        const { dtype, shape } = weight;
        found.push([weight.name, { dtype, shape, sha256: await sha256(draft, weight) }]);
      }
      expect(found).toEqual(
        Object.entries(expected).map(([key, each]) => [key, { ...layoutOf(each), sha256: each.sha256 }]),
      );
    },
  );

  test.each(names.filter((name) => name.endsWith(".pte")))(
    "finds the constants, delegates and named data of %s as ExecuTorch's own reader does",
    async (name) => {
      const { plans, named } = EXPECTED[name] as ExpectedProgram;
      const draft = await read(fixtures(name));
      expect(draft.methods.map((method) => method.name)).toEqual(Object.keys(plans));
      for (const { name: plan, weights } of draft.methods) {
        const { tensors, delegates } = plans[plan] as ExpectedProgram["plans"][string];
        const wanted = [
          ...tensors
            .filter(({ external }) => !external)
            .map(({ type, sizes, order, length, sha256 }) => ({
              ...layoutOf({ layout: { type, sizes, order }, length }),
              sha256,
            })),
          ...delegates.map((each) => ({ dtype: "uint8", sha256: each.sha256 })),
          ...Object.values(named).map((each) => ({ dtype: "uint8", sha256: each })),
        ];
        const found: { sha256: string }[] = [];
        for (const weight of weights) {
          expect(tensorBytes(weight.dtype, weight.shape)).toBe(weight.at.length);
          const { dtype, shape } = weight;
          found.push({ dtype, shape, sha256: await sha256(draft, weight) } as { sha256: string });
        }
        // A constant that several values use is one weight.
        const digests = (list: readonly { sha256: string }[]): string[] =>
          [...new Set(list.map((each) => each.sha256))].sort();
        expect(digests(found)).toEqual(digests(wanted));
        for (const each of wanted) expect(found).toContainEqual(expect.objectContaining(each));
        expect(weights.filter(({ name: each }) => each in named).map((each) => each.name)).toEqual(
          Object.keys(named),
        );
      }
    },
  );

  test("says of inputs, outputs and backends what ExecuTorch's own reader does", async () => {
    for (const name of names.filter((each) => each.endsWith(".pte"))) {
      const { plans } = EXPECTED[name] as ExpectedProgram;
      const program = await readProgram(memorySource(fixture(name), name));
      for (const { name: plan, inputs, outputs, delegates } of program.plans) {
        const expected = plans[plan] as ExpectedProgram["plans"][string];
        expect([inputs.length, outputs.length]).toEqual([expected.inputs, expected.outputs]);
        expect(delegates.map(({ id }) => id)).toEqual(expected.delegates.map(({ id }) => id));
      }
    }
  });

  test("finds what a program takes from data files", async () => {
    const draft = await read(fixtures("first.pte", "first-foundation.ptd", "first-adapter.ptd"));
    expect(draft.notes).toBeUndefined();
    expect(draft.methods.map(({ name, file }) => [name, file])).toEqual([
      ["forward", 0],
      ["first-foundation", 1],
      ["first-adapter", 2],
    ]);
    const whole = await read(fixtures("whole.pte"));
    const digests = async (of: ModelDraft): Promise<string[]> =>
      Promise.all((of.methods[0]?.weights ?? []).map((weight) => sha256(of, weight)));
    // The same weights as where all are in the program, under their names.
    expect(await digests(draft)).toEqual(await digests(whole));
    expect(
      draft.methods[0]?.weights.map(({ name, dtype, shape, at }) => [name, dtype, shape, at.file]),
    ).toEqual([
      ["linear.weight", "float32", [24, 32], 1],
      ["constant 1", "float32", [24], 0],
      ["lora_a.weight", "float32", [4, 32], 2],
      ["lora_b.weight", "float32", [24, 4], 2],
    ]);
  });

  test("finds the data file that is named as the program is, and says what is missing", async () => {
    const files = { "m.pte": fixture("first.pte"), "m.ptd": fixture("first-adapter.ptd") };
    const draft = await read(files, ["m.pte"]);
    expect(draft.files.map(({ path }) => path)).toEqual(["m.pte", "m.ptd"]);
    expect(draft.notes).toEqual([
      'Method "forward" takes "linear.weight" from a data file that was not given: add it with the program',
    ]);
    expect((await read({ "m.pte": files["m.pte"] })).notes).toEqual([
      'Method "forward" takes "linear.weight" and 2 more from a data file that was not given: add it with the program',
    ]);
  });

  test("refuses two data files that both have what a program takes", async () => {
    const files = fixtures("first.pte", "first-foundation.ptd", "first-adapter.ptd", "second-adapter.ptd");
    expect(await refusal(read(files))).toMatchObject({
      code: "duplicate",
      tensor: "lora_a.weight",
      hint: expect.any(String),
    });
  });

  test("refuses a data file that has a tensor of another shape, naming both", async () => {
    const data = fixture("first-adapter.ptd");
    const head = new DataView(data.buffer);
    // The sizes 4 and 32 stand next to each other once.
    const at = [...data.keys()].find(
      (nth) =>
        nth % 4 === 0 && nth < 376 && head.getInt32(nth, true) === 4 && head.getInt32(nth + 4, true) === 32,
    ) as number;
    head.setInt32(at, 32, true);
    head.setInt32(at + 4, 4, true);
    const error = await refusal(read({ ...fixtures("first.pte"), "first.ptd": data }));
    expect(error).toMatchObject({ code: "mismatch", tensor: "lora_a.weight" });
    expect(error.message).toContain('the program wants float32 [4, 32], "first.ptd" has float32 [32, 4]');
  });

  test("says which methods several programs have, and refuses two of one name", async () => {
    const files = fixtures("whole.pte", "delegated.pte");
    expect((await read(files)).methods.map(({ name }) => name)).toEqual([
      "whole/forward",
      "delegated/forward",
      "delegated/wide",
    ]);
    const clash = { "m.pte": fixture("whole.pte"), "forward.ptd": fixture("one.ptd") };
    expect(await refusal(read(clash))).toMatchObject({ code: "duplicate", path: "forward.ptd" });
  });

  test("keeps what is not row-major as plain bytes, and says so", async () => {
    expect((await read(fixtures("channels-last.pte"))).notes).toEqual([
      'Tensor "constant 1" is stored in the order [0, 2, 3, 1]: kept as plain bytes',
    ]);
    expect((await read(fixtures("kinds.ptd"))).notes).toEqual([
      'Tensor "columns" is stored in the order [1, 0]: kept as plain bytes',
    ]);
  });

  test("names data that changes apart from constants", async () => {
    const draft = await read(fixtures("counting.pte"));
    expect(draft.methods[0]?.weights.map(({ name }) => name)).toEqual(["constant 1", "buffer 1"]);
    const [, state] = draft.methods[0]?.weights ?? [];
    const { offset, length } = (state as WeightDraft).at;
    const bytes = fixture("counting.pte").slice(offset, offset + length);
    expect([...new Float32Array(bytes.buffer)]).toEqual([3, 5, 7, 11]);
  });

  test("reads only the tables", async () => {
    const source = countingSource(memorySource(fixture("KeywordSpotting.pte"), "k.pte"));
    await readExecutorch([{ path: "k.pte", source }], { open: async () => undefined });
    expect(source.reads).toHaveLength(2);
    expect(source.bytes).toBeLessThan(15_000);
    const data = countingSource(memorySource(fixture("many.ptd"), "m.ptd"));
    await readData(data);
    expect(data.bytes).toBeLessThan(4352);
  });
});

/** A number of a header, changed. */
function edited(name: string, at: number, value: bigint, size: 4 | 8 = 8): Uint8Array {
  const bytes = fixture(name);
  const view = new DataView(bytes.buffer);
  if (size === 8) view.setBigUint64(at, value, true);
  else view.setUint32(at, Number(value), true);
  return bytes;
}

describe("programs", () => {
  test("may have hundreds of thousands of weights", LONG, async () => {
    const writer = new FlatbufferWriter();
    const keys = Array.from({ length: 150_000 }, (_, nth) => {
      return writer.table([{ offset: writer.string(`${nth}`) }, { width: 4, value: 0n }]);
    });
    const plans = writer.offsets([writer.table([{ offset: writer.string("forward") }])]);
    const segments = writer.offsets([writer.table([{ width: 8, value: 0n }])]);
    const none = { offset: undefined };
    // Plans, segments and named data are the fields 1, 4 and 7.
    const named = { offset: writer.offsets(keys) };
    const fields = [none, { offset: plans }, none, none, { offset: segments }, none, none, named];
    const { methods } = await read({ "x.pte": writer.finish(writer.table(fields), "ET12") });
    expect(methods[0]?.weights).toHaveLength(150_000);
  });
});

describe("headers", () => {
  const readAs = (name: string, bytes: Uint8Array): Promise<unknown> => {
    const source: ByteSource = memorySource(bytes, name);
    return name.endsWith(".ptd") ? readData(source) : readProgram(source);
  };

  test.each<[string, string, number, bigint, 4 | 8, string, string]>([
    ["another kind of file", "one.ptd", 4, 0x41414141n, 4, "unknown-format", "it has no FT01"],
    ["a later program", "whole.pte", 4, 0x33315445n, 4, "unsupported", 'it is of version "ET13"'],
    ["a later data file", "one.ptd", 4, 0x32305446n, 4, "unsupported", 'it is of version "FT02"'],
    ["no data header", "one.ptd", 8, 0n, 4, "malformed", "its header does not start with FH01"],
    ["a short program header", "whole.pte", 12, 23n, 4, "malformed", "its header has 23 bytes"],
    ["a short data header", "one.ptd", 12, 39n, 4, "malformed", "its header has 39 bytes"],
    ["a long header", "one.ptd", 12, 4000n, 4, "size-mismatch", "it ends within its header"],
    ["tables past the end", "whole.pte", 16, 2n ** 63n, 8, "size-mismatch", "its program ends at byte"],
    ["a list past the end", "one.ptd", 24, 2n ** 64n - 1n, 8, "size-mismatch", "its list of weights ends"],
    ["segments past the end", "whole.pte", 24, 6625n, 8, "size-mismatch", "its segments ends at byte 6625"],
    ["segments in the tables", "whole.pte", 24, 128n, 8, "malformed", "before its tables end"],
    ["segments that end too late", "whole.pte", 32, 4065n, 8, "size-mismatch", "its last segment ends"],
    [
      "segments that end too early",
      "whole.pte",
      32,
      4063n,
      8,
      "size-mismatch",
      "segment 0 ends at byte 6624",
    ],
    ["segments nowhere", "whole.pte", 24, 0n, 8, "malformed", "bytes of segments have no start"],
  ])("refuse %s", async (_, name, at, value, size, code, message) => {
    const error = await refusal(readAs(name, edited(name, at, value, size)));
    expect(error.message).toContain(message);
    expect(error.code).toBe(code);
    expect(error.path).toBe(name);
  });

  test("may be of 24 bytes, which do not say how large the segments are", async () => {
    const bytes = edited("whole.pte", 12, 24n, 4);
    new DataView(bytes.buffer).setBigUint64(32, 2n ** 63n, true);
    expect((await readProgram(memorySource(bytes, "old.pte"))).segments).toEqual([
      { offset: 2560, length: 4064 },
    ]);
  });

  test("may be longer than is known here", async () => {
    expect(await readData(memorySource(edited("one.ptd", 12, 44n, 4), "new.ptd"))).toEqual(
      await readData(memorySource(fixture("one.ptd"), "one.ptd")),
    );
  });
});

describe("data files", () => {
  test("are refused where a segment is not as large as its layout", async () => {
    const bytes = fixture("first-foundation.ptd");
    // The layout's 24 rows.
    const view = new DataView(bytes.buffer);
    const at = [...Array(250).keys()].find(
      (nth) => nth > 48 && view.getInt32(nth, true) === 24 && view.getInt32(nth + 4, true) === 32,
    ) as number;
    view.setInt32(at, 25, true);
    const error = await refusal(readData(memorySource(bytes, "x.ptd")));
    expect(error).toMatchObject({ code: "size-mismatch", tensor: "linear.weight", offset: 256 });
    expect(error.message).toContain("takes 3200 bytes, its segment has 3072");
    view.setInt32(at, -1, true);
    expect(await refusal(readData(memorySource(bytes, "x.ptd")))).toMatchObject({ code: "malformed" });
    view.setInt32(at, 2 ** 31 - 1, true);
    view.setInt32(at + 4, 2 ** 31 - 1, true);
    expect(await refusal(readData(memorySource(bytes, "x.ptd")))).toMatchObject({ code: "too-large" });
  });

  /** A data file with these tables, and 256 bytes of data. */
  const file = (tables: (writer: FlatbufferWriter) => number): Uint8Array => {
    const writer = new FlatbufferWriter();
    const root = tables(writer);
    const bytes = writer.finish(root, "FT01");
    const out = new Uint8Array(1024 + 256);
    const view = new DataView(out.buffer);
    out.set(bytes.subarray(8), 56);
    view.setUint32(0, new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) + 48, true);
    out.set(new TextEncoder().encode("FT01FH01"), 4);
    view.setUint32(12, 40, true);
    for (const [nth, value] of [48, bytes.length, 1024, 256].entries()) {
      view.setBigUint64(16 + 8 * nth, BigInt(value), true);
    }
    return out;
  };
  const segment = (writer: FlatbufferWriter, offset: bigint, size: bigint): number =>
    writer.offsets([
      writer.table([
        { width: 8, value: offset },
        { width: 8, value: size },
      ]),
    ]);
  const key = (writer: FlatbufferWriter, name: string | undefined, nth: bigint, layout?: number): number =>
    writer.table([
      { offset: name === undefined ? undefined : writer.string(name) },
      { width: 4, value: nth },
      { offset: layout },
    ]);
  const root = (writer: FlatbufferWriter, segments: number, ...keys: number[]): number =>
    writer.table([{ width: 4, value: 0n }, { offset: segments }, { offset: writer.offsets(keys) }]);

  test("are read where they are hand-built", async () => {
    const bytes = file((w) => root(w, segment(w, 16n, 240n), key(w, "a", 0n), key(w, "b", 0n)));
    const { methods } = await read({ "x.ptd": bytes });
    const at = { file: 0, offset: 1040, length: 240 };
    expect(methods[0]?.weights).toEqual(
      ["a", "b"].map((name) => ({ name, dtype: "uint8", shape: [240], at })),
    );
  });

  test.each<[string, (writer: FlatbufferWriter) => number, string, string]>([
    ["a newer version", (w) => w.table([{ width: 4, value: 1n }]), "unsupported", "it has version 1"],
    [
      "a segment past the end",
      (w) => root(w, segment(w, 17n, 240n)),
      "size-mismatch",
      "segment 0 ends at byte 1281",
    ],
    [
      "a segment of over 2^53 bytes",
      (w) => root(w, segment(w, 2n ** 64n - 1n, 2n ** 64n - 1n)),
      "size-mismatch",
      "segment 0 ends at byte 36893488147419104254",
    ],
    [
      "a segment that is not there",
      (w) => root(w, segment(w, 0n, 1n), key(w, "a", 1n)),
      "malformed",
      'tensor "a" of "x.ptd": it is in segment 1 of 1',
    ],
    [
      "no key",
      (w) => root(w, segment(w, 0n, 1n), key(w, undefined, 0n)),
      "malformed",
      "named data has no key",
    ],
    [
      "a key twice",
      (w) => root(w, segment(w, 0n, 1n), key(w, "a", 0n), key(w, "a", 0n)),
      "duplicate",
      "that key occurs twice",
    ],
    [
      "an order of dimensions that is none",
      (w) => {
        const sizes = w.numbers([1, 1], 4);
        const order = w.numbers([1, 1], 1);
        const layout = w.table([{ width: 1, value: 0n }, { offset: sizes }, { offset: order }]);
        return root(w, segment(w, 0n, 1n), key(w, "a", 0n, layout));
      },
      "malformed",
      "[1, 1] is no order of its 2 dimensions",
    ],
  ])("are refused with %s", async (_, tables, code, message) => {
    const error = await refusal(readData(memorySource(file(tables), "x.ptd")));
    expect(error.message).toContain(message);
    expect(error.code).toBe(code);
  });

  test("keep types that are not known as plain bytes", async () => {
    const bytes = file((w) => {
      const sizes = w.numbers([7], 4);
      const layout = w.table([{ width: 1, value: 77n }, { offset: sizes }]);
      return root(w, segment(w, 0n, 9n), key(w, "a", 0n, layout));
    });
    const { methods, notes } = await read({ "x.ptd": bytes });
    expect(methods[0]?.weights).toMatchObject([{ dtype: "uint8", shape: [9] }]);
    expect(notes).toEqual(['Tensor "a" is of scalar type 77, which tare does not know: kept as plain bytes']);
  });
});
