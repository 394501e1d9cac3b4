import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../../src/io/byte-source.ts";
import { parsePages } from "../../../src/encodings/flatbuffer/pages.ts";
import type { WriteField } from "../../../src/encodings/flatbuffer/rewrite.ts";
import { Flatbuffer } from "../../../src/encodings/flatbuffer/table.ts";
import { FlatbufferWriter } from "../../../src/encodings/flatbuffer/writer.ts";
import { editProgram, openProgram, segmentsOf } from "../../../src/formats/executorch/edit-program.ts";
import { externalizeProgram } from "../../../src/formats/executorch/externalize.ts";
import { internalizeProgram } from "../../../src/formats/executorch/internalize.ts";
import { addConstants } from "../../../src/formats/executorch/internalize-constants.ts";
import { alignmentsOf } from "../../../src/formats/executorch/place-segments.ts";
import { readExecutorch, readProgram } from "../../../src/formats/executorch/read.ts";
import {
  DelegateFields,
  PlanFields,
  ProgramFields,
  ReferenceFields,
} from "../../../src/formats/executorch/schema.ts";
import { type DataFileSpec, encodeDataHeader } from "../../../src/formats/executorch/write-data.ts";
import { countingSource } from "../../support/counting-source.ts";
import { weightsOf, writtenData, writtenProgram } from "../../support/executorch.ts";
import { thrown } from "../../support/thrown.ts";

const FOLDER = new URL("../../../fixtures/executorch/", import.meta.url);
const fixture = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, FOLDER)));
const source = (name: string): ByteSource => memorySource(fixture(name), name);
const PROGRAMS = readdirSync(FOLDER).filter((name) => name.endsWith(".pte"));
/** Those that have weights that can be elsewhere. */
const WHOLE = [
  "AddModel.pte",
  "KeywordSpotting.pte",
  "channels-last.pte",
  "counting.pte",
  "delegated.pte",
  "half.pte",
  "together.pte",
  "whole.pte",
];
const ALL = (): boolean => true;
const FLOAT = 6;

async function internalized(
  sources: readonly ByteSource[],
  chooses: (name: string) => boolean = ALL,
): Promise<Uint8Array> {
  const [program, ...data] = sources as [ByteSource, ...ByteSource[]];
  const made = await internalizeProgram(program, data, chooses);
  return writtenProgram(made, await Promise.all(sources.map((each) => each.read(0, each.size))));
}

/** The program without weights, and the data files that they went to. */
async function separated(
  name: string,
  choose: (weight: string, nth: number) => string | undefined,
): Promise<ByteSource[]> {
  let nth = 0;
  const bytes = fixture(name);
  const made = await externalizeProgram(source(name), (weight) => choose(weight.name, nth++));
  return [
    memorySource(writtenProgram(made, [bytes]), name),
    ...made.files.map((file) => memorySource(writtenData(file, bytes), `${file.name}.ptd`)),
  ];
}

async function weightsIn(...sources: readonly ByteSource[]): Promise<Record<string, string[]>> {
  const files = sources.map((each, nth) => ({ path: nth === 0 ? "a.pte" : `${nth}.ptd`, source: each }));
  return weightsOf(await readExecutorch(files, { open: async () => undefined }));
}

/** A data file of zeros. */
function dataFile(name: string, spec: DataFileSpec): ByteSource {
  const { bytes, size } = encodeDataHeader(spec);
  const out = new Uint8Array(size);
  out.set(bytes);
  return memorySource(out, name);
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(Buffer.from(b));

describe("editProgram()", () => {
  test.each(PROGRAMS)(
    "gives %s byte for byte where nothing is edited, whichever tool wrote it",
    async (name) => {
      const bytes = fixture(name);
      const made = await openProgram(
        source(name),
        (open) => editProgram(open, { tensors: new Map(), segments: segmentsOf(open) }),
        {},
      );
      expect(same(writtenProgram(made, [bytes]), bytes)).toBe(true);
    },
  );

  test("refuses fields that it does not know, which would be lost", async () => {
    const writer = new FlatbufferWriter();
    const nothing = { offset: undefined };
    const root = writer.table([...Array.from({ length: 8 }, () => nothing), { width: 4, value: 1n }]);
    const bytes = writer.finish(root, "ET12");
    const edit = openProgram(
      memorySource(bytes, "new.pte"),
      (open) => editProgram(open, { tensors: new Map(), segments: [] }),
      {},
    );
    expect(await thrown(edit)).toMatchObject({
      code: "unsupported",
      message: 'Cannot read "new.pte": it has field 8 of a table, which tare does not know',
    });
  });

  test("refuses kinds of values that it does not know", async () => {
    const writer = new FlatbufferWriter();
    const value = writer.table([{ width: 1, value: 99n }, { offset: writer.table([]) }]);
    const values = writer.offsets([value]);
    const name = writer.string("forward");
    const plan = writer.table([{ offset: name }, { offset: undefined }, { offset: values }]);
    const plans = writer.offsets([plan]);
    const bytes = writer.finish(writer.table([{ width: 4, value: 0n }, { offset: plans }]), "ET12");
    const edit = openProgram(
      memorySource(bytes, "new.pte"),
      (open) => editProgram(open, { tensors: new Map(), segments: [] }),
      {},
    );
    expect(await thrown(edit)).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("kind 99"),
    });
  });
});

describe("alignmentsOf()", () => {
  const at = (offset: number, length: number): { offset: number; length: number } => ({ offset, length });

  test("goes by the usual 128 where no padding shows more", () => {
    const segments = [at(1024, 100), at(1152, 1920), at(3072, 5)];
    expect(alignmentsOf({ base: 1024, tables: 1000 }, segments)).toEqual({
      base: 128,
      each: [128, 128, 128],
    });
  });

  test("finds that all segments start pages", () => {
    const segments = [at(4096, 100), at(8192, 5000), at(16384, 5)];
    expect(alignmentsOf({ base: 4096, tables: 1000 }, segments)).toEqual({
      base: 4096,
      each: [4096, 4096, 4096],
    });
  });

  test("finds the one that was aligned to more than the others", () => {
    const segments = [at(128, 100), at(128, 0), at(128 + 1024, 5), at(128 + 1152, 5)];
    expect(alignmentsOf({ base: 128, tables: 100 }, segments)).toEqual({
      base: 128,
      each: [128, 128, 1024, 128],
    });
  });
});

describe("addConstants()", () => {
  const segment = { offset: 1000, length: 512 };
  const starting = (...starts: number[]): { offset: number; length: number }[] =>
    starts.map((start) => ({ offset: 1000 + start, length: 512 - start }));
  const from = { offset: 7, length: 20 };

  test("puts them among the others by their numbers, at multiples of 16", () => {
    const old = starting(0, 0, 112, 112, 224);
    const used = new Map([
      [1, 100],
      [3, 100],
      [4, 288],
    ]);
    const { offsets, pieces, length } = addConstants(old, used, segment, [{ number: 2, file: 1, from }]);
    expect(offsets).toEqual([0n, 0n, 112n, 144n, 256n]);
    expect(pieces.map(({ offset, file }) => [offset, file])).toEqual([
      [0, 0],
      [112, 1],
      [144, 0],
      [256, 0],
    ]);
    expect(length).toBe(256 + 288);
  });

  test("aligns them as far as the padding of the others shows", () => {
    const used = new Map([
      [1, 20],
      [2, 100],
      [3, 64],
    ]);
    const { offsets } = addConstants(starting(0, 0, 64, 192), used, segment, [{ number: 4, file: 1, from }]);
    expect(offsets).toEqual([0n, 0n, 64n, 192n, 512n]);
    const first = addConstants(
      starting(0, 0, 64, 64, 192),
      new Map([
        [1, 20],
        [3, 100],
        [4, 64],
      ]),
      segment,
      [{ number: 2, file: 1, from }],
    );
    expect(first.offsets).toEqual([0n, 0n, 64n, 128n, 256n]);
  });

  test("leaves tensors together that lie over others", () => {
    const used = new Map([
      [1, 300],
      [2, 50],
      [4, 100],
    ]);
    const { offsets, pieces } = addConstants(starting(0, 0, 112, 0, 400), used, segment, [
      { number: 3, file: 1, from },
    ]);
    expect(offsets).toEqual([0n, 0n, 112n, 400n, 432n]);
    expect(pieces.map((piece) => piece.from.length)).toEqual([400, 20, 112]);
  });
});

describe("internalizeProgram()", () => {
  test.each(WHOLE)("gives %s byte for byte after all of it was moved out", async (name) => {
    expect(same(await internalized(await separated(name, () => "x")), fixture(name))).toBe(true);
  });

  test.each(WHOLE)("gives %s byte for byte after every second weight was moved out", async (name) => {
    for (const odd of [0, 1]) {
      const files = await separated(name, (_, nth) => (nth % 2 === odd ? "x" : undefined));
      if (files.length === 1) continue;
      expect(same(await internalized(files), fixture(name))).toBe(true);
    }
  });

  test("gives the exporter's own program of one that it wrote with data files for a backend", async () => {
    const files = ["apart.pte", "apart-foundation.ptd", "apart-adapter.ptd"].map(source);
    expect(same(await internalized(files), fixture("together.pte"))).toBe(true);
  });

  test("has the same weights where the order of data files is another", async () => {
    const files = ["apart.pte", "apart-adapter.ptd", "apart-foundation.ptd"].map(source);
    const bytes = await internalized(files);
    expect(same(bytes, fixture("together.pte"))).toBe(false);
    expect(await weightsIn(memorySource(bytes))).toEqual(await weightsIn(source("together.pte")));
  });

  test("gives a program that has nothing inside its constants, and a header", async () => {
    const files = ["elsewhere.pte", "elsewhere-all.ptd"].map(source);
    const bytes = await internalized(files);
    expect(await weightsIn(memorySource(bytes))).toEqual(await weightsIn(source("whole.pte")));
    const { plans, segments, constants } = await readProgram(memorySource(bytes));
    expect(plans[0]?.tensors.map(({ name, buffer, external }) => [name, buffer, external])).toEqual([
      ["linear.weight", 1, false],
      ["linear.bias", 2, false],
      ["lora_a.weight", 3, false],
      ["lora_b.weight", 4, false],
    ]);
    expect(segments.map(({ length }) => length)).toEqual([4064]);
    expect(constants).toHaveLength(5);
  });

  test("moves what is chosen, and leaves the rest where it is", async () => {
    const files = ["first.pte", "first-adapter.ptd"].map(source);
    const made = await internalizeProgram(files[0] as ByteSource, files.slice(1), (key) =>
      key.startsWith("lora"),
    );
    expect(made).toMatchObject({
      constants: ["lora_a.weight", "lora_b.weight"],
      named: [],
      external: ["linear.weight"],
    });
    const bytes = writtenProgram(made, [fixture("first.pte"), fixture("first-adapter.ptd")]);
    const foundation = source("first-foundation.ptd");
    expect(await weightsIn(memorySource(bytes), foundation)).toEqual(await weightsIn(source("whole.pte")));
    expect(same(await internalized([memorySource(bytes), foundation]), bytes)).toBe(false);
    expect(await weightsIn(memorySource(await internalized([memorySource(bytes), foundation])))).toEqual(
      await weightsIn(source("whole.pte")),
    );
  });

  test("takes along named data that no tensor is, keys of one segment in one", async () => {
    const bytes = await internalized(["whole.pte", "kinds.ptd"].map(source));
    const { named, segments } = await readProgram(memorySource(bytes));
    const kinds = [...new Set(named.map(({ key }) => key))];
    expect(kinds).toContain("späß/キー");
    const of = (key: string): number => named.find((each) => each.key === key)?.segment as number;
    expect(of("float")).toBe(of("again"));
    expect(of("float")).toBe(of("other shape"));
    // It was aligned to 4096 there, which padding shows.
    const base = segments[0]?.offset as number;
    expect(((segments[of("half")]?.offset as number) - base) % 4096).toBe(0);
    expect(named.every(({ layout }) => layout === undefined)).toBe(true);
  });

  test("gives tensors of the same bytes one constant", async () => {
    const layout = { type: FLOAT, dimOrder: [0, 1] };
    const data = dataFile("tied.ptd", {
      segments: [{ length: 3072 }, { length: 512 }],
      named: [
        { key: "linear.weight", segment: 0, layout: { ...layout, sizes: [24, 32] } },
        { key: "lora_a.weight", segment: 1, layout: { ...layout, sizes: [4, 32] } },
      ],
    });
    const twice = await internalized([source("first.pte"), data], (key) => !key.startsWith("lora_b"));
    const { plans } = await readProgram(memorySource(twice));
    expect(plans[0]?.tensors.map(({ buffer }) => buffer)).toEqual([2, 1, 3, 2]);
  });

  test("refuses tensors that change from run to run, unless they are left where they are", async () => {
    const bytes = fixture("first.pte");
    const made = await openProgram(
      source("first.pte"),
      (open) => {
        const tensor = open.program.plans[0]?.tensors.find(({ name }) => name === "lora_a.weight");
        const allocation: WriteField = (writer) => ({ offset: writer.table([{ width: 4, value: 1n }]) });
        const tensors = new Map([[tensor?.at as number, new Map([[6, allocation]])]]);
        return editProgram(open, { tensors, segments: segmentsOf(open) });
      },
      {},
    );
    const program = memorySource(writtenProgram(made, [bytes]), "changing.pte");
    const data = ["first-foundation.ptd", "first-adapter.ptd"].map(source);
    expect(await thrown(internalizeProgram(program, data, ALL))).toMatchObject({
      code: "unsupported",
      path: "changing.pte",
      tensor: "lora_a.weight",
      message: expect.stringContaining("a data file has its initial values"),
    });
    const { constants, external } = await internalizeProgram(program, data, (key) => key !== "lora_a.weight");
    expect([constants, external]).toEqual([["linear.weight", "lora_b.weight"], ["lora_a.weight"]]);
  });

  test("keeps what else is said of a tensor", async () => {
    const bytes = fixture("whole.pte");
    const made = await openProgram(
      source("whole.pte"),
      (open) => {
        // A device of its own: fields 3 and 4 of what most tensors have nothing to say of.
        const extra: WriteField = (writer) => ({
          offset: writer.table([
            ...Array.from({ length: 3 }, () => ({ offset: undefined })),
            { width: 1, value: 1n },
            { width: 1, value: 2n },
          ]),
        });
        const at = open.program.plans[0]?.tensors[2]?.at as number;
        return editProgram(open, {
          tensors: new Map([[at, new Map([[9, extra]])]]),
          segments: segmentsOf(open),
        });
      },
      {},
    );
    const program = writtenProgram(made, [bytes]);
    const moved = await externalizeProgram(memorySource(program, "device.pte"), () => "x");
    const files = [
      memorySource(writtenProgram(moved, [program]), "device.pte"),
      ...moved.files.map((file) => memorySource(writtenData(file, program), "x.ptd")),
    ];
    expect(same(await internalized(files), program)).toBe(true);
  });

  test("reads tables only", async () => {
    const counted = ["first.pte", "first-foundation.ptd", "first-adapter.ptd"].map((name) =>
      countingSource(source(name)),
    );
    await internalizeProgram(counted[0] as ByteSource, counted.slice(1), ALL);
    expect(counted.map(({ bytes }) => bytes)).toEqual([2624 + 64, 208 + 64, 328 + 64]);
  });

  const LINEAR = { type: FLOAT, sizes: [24, 32], dimOrder: [0, 1] };
  const linear = (layout: typeof LINEAR, length = 3072): ByteSource =>
    dataFile("bad.ptd", { segments: [{ length }], named: [{ key: "linear.weight", segment: 0, layout }] });
  test.each<[string, string, readonly ByteSource[], string, string]>([
    [
      "another shape",
      "first.pte",
      [linear({ ...LINEAR, sizes: [32, 24] })],
      "mismatch",
      'the program wants float32 [24, 32], "bad.ptd" has float32 [32, 24]',
    ],
    [
      "another type",
      "first.pte",
      [linear({ ...LINEAR, type: 3 })],
      "mismatch",
      'the program wants float32 [24, 32], "bad.ptd" has int32 [24, 32]',
    ],
    [
      "another order",
      "first.pte",
      [linear({ ...LINEAR, dimOrder: [1, 0] })],
      "mismatch",
      '"bad.ptd" has float32 [24, 32] in the order [1, 0]',
    ],
    [
      "bytes of another size",
      "first.pte",
      [dataFile("bad.ptd", { segments: [{ length: 8 }], named: [{ key: "linear.weight", segment: 0 }] })],
      "mismatch",
      'the program wants float32 [24, 32], "bad.ptd" has 8 bytes',
    ],
    [
      "what is not there",
      "first.pte",
      [source("first-foundation.ptd")],
      "missing-weight",
      'no given data file has "lora_a.weight" and 1 more',
    ],
    [
      "a tensor of two data files",
      "first.pte",
      ["first-foundation.ptd", "second-foundation.ptd", "first-adapter.ptd"].map(source),
      "duplicate",
      '"first-foundation.ptd" and "second-foundation.ptd" both have it',
    ],
    [
      "named data of two data files",
      "apart.pte",
      ["apart-adapter.ptd", "apart-foundation.ptd", "apart-adapter.ptd"].map(source),
      "duplicate",
      '"apart-adapter.ptd" and "apart-adapter.ptd" both have it',
    ],
    [
      "named data that the program has",
      "together.pte",
      [source("apart-adapter.ptd")],
      "duplicate",
      'it and "apart-adapter.ptd" both have it',
    ],
    ["a program with all inside", "whole.pte", [], "not-found", "all its tensors are inside already"],
    [
      "data files of nothing",
      "whole.pte",
      [source("none.ptd")],
      "not-found",
      "all its tensors are inside already",
    ],
    ["constants in the tables", "ModuleLinear-no-constant-segment.pte", [], "not-found", "inside already"],
    ["a data file as the program", "one.ptd", [], "unknown-format", "it has no ET12"],
    ["a program as data", "first.pte", [source("whole.pte")], "unknown-format", "it has no FT01"],
  ])("refuses %s", async (_, name, data, code, message) => {
    const error = await thrown(internalizeProgram(source(name), data, ALL));
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
    expect(error.path).toMatch(/\.pt[ed]$/);
    if (code === "mismatch")
      expect(error).toMatchObject({ tensor: "linear.weight", offset: expect.any(Number) });
    if (code !== "not-found" && code !== "unknown-format" && code !== "unsupported") {
      expect(error.tensor).toBeDefined();
    }
  });

  test("refuses data files that are cut off, anywhere", async () => {
    const whole = fixture("first-foundation.ptd");
    for (let end = 0; end < whole.length; end += end > 400 ? 37 : 1) {
      const cut = memorySource(whole.slice(0, end), "cut.ptd");
      const error = await thrown(
        internalizeProgram(source("first.pte"), [cut, source("first-adapter.ptd")], ALL),
      );
      expect(error).toMatchObject({ path: "cut.ptd" });
      expect(["size-mismatch", "unknown-format", "malformed"]).toContain(error.code);
    }
  });
});

describe("externalizeProgram() of a segment with several uses", () => {
  test("keeps what a delegate runs where it is named data too", async () => {
    const bytes = fixture("together.pte");
    const file = memorySource(bytes, "shared.pte");
    const { named } = await readProgram(file);
    const place = await parsePages(file, bytes.length, (pages) => {
      const [plan] = new Flatbuffer(pages).root().tables(ProgramFields.plans);
      const [delegate] = plan?.tables(PlanFields.delegates) ?? [];
      return delegate?.table(DelegateFields.processed)?.position(ReferenceFields.index, 4);
    });
    new DataView(bytes.buffer).setUint32(place as number, named[1]?.segment as number, true);
    const { plans } = await readProgram(file);
    const { offset, length } = plans[0]?.delegates[0]?.blob ?? { offset: 0, length: 0 };
    expect(length).toBeGreaterThan(0);
    const made = await externalizeProgram(file, () => "x");
    const program = writtenProgram(made, [bytes]);
    const left = (await readProgram(memorySource(program))).plans[0]?.delegates[0]?.blob;
    const kept = program.subarray(left?.offset, (left?.offset ?? 0) + (left?.length ?? 0));
    expect(kept).toEqual(bytes.subarray(offset, offset + length));
    const data = made.files.map((each) => memorySource(writtenData(each, bytes), "x.ptd"));
    const back = await internalized([memorySource(program, "shared.pte"), ...data]);
    expect(await weightsIn(memorySource(back))).toEqual(await weightsIn(file));
  });
});
