import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ByteSource, memorySource } from "../../src/io/byte-source.ts";
import { fetchSkeleton, type MessageShape } from "../../src/encodings/protobuf/fetch-skeleton.ts";
import {
  eachField,
  type Field,
  fieldAt,
  type Frame,
  frameOf,
  varintAt,
  varintLength,
} from "../../src/encodings/protobuf/fields.ts";
import { SparseBytes } from "../../src/encodings/protobuf/sparse-bytes.ts";
import { type Edit, splice } from "../../src/encodings/protobuf/splice.ts";
import { countingSource } from "../support/counting-source.ts";
import { SAMPLED, some } from "../support/speed.ts";

/** In these tests field 1 is a message like its parent, field 2 a payload; all others are opaque. */
const MESSAGE = 1;
const PAYLOAD = 2;
const shape: MessageShape = { [MESSAGE]: () => shape, [PAYLOAD]: "payload" };

/** A message as a tree; what an edit does to a field stands beside it. */
interface TreeField {
  readonly number: number;
  readonly value: bigint | { readonly fixed: 4 | 8 } | Uint8Array | Tree;
  readonly edit?: { readonly remove: boolean; readonly before: readonly TreeField[] };
}
interface Tree {
  readonly fields: readonly TreeField[];
  readonly append: readonly TreeField[];
}

function isTree(value: TreeField["value"]): value is Tree {
  return typeof value === "object" && "fields" in value;
}

function encode(fields: readonly TreeField[], edited = false): Uint8Array {
  const writer = new BinaryWriter();
  for (const { number, value, edit } of fields) {
    if (edited && edit) writer.raw(encode(edit.before));
    if (edited && edit?.remove) continue;
    if (typeof value === "bigint") writer.tag(number, WireType.Varint).uint64(value);
    else if (value instanceof Uint8Array) writer.tag(number, WireType.LengthDelimited).bytes(value);
    else if (isTree(value)) {
      const inner = encode(edited ? [...value.fields, ...value.append] : value.fields, edited);
      writer.tag(number, WireType.LengthDelimited).bytes(inner);
    } else if (value.fixed === 4) writer.tag(number, WireType.Bit32).fixed32(0x01020304);
    else writer.tag(number, WireType.Bit64).fixed64("72623859790382856");
  }
  return writer.finish();
}

/** The edits of a tree, for the file it was encoded to. */
function editsOf(view: SparseBytes, frame: Frame, tree: Tree, edits: Edit[]): void {
  let index = 0;
  eachField(view, frame.start, frame.end, (field) => {
    const { value, edit } = tree.fields[index++] as TreeField;
    if (edit && edit.before.length > 0) {
      edits.push({ frame, start: field.start, end: field.start, bytes: encode(edit.before) });
    }
    if (edit?.remove) edits.push({ frame, start: field.start, end: field.end, bytes: new Uint8Array(0) });
    else if (isTree(value)) editsOf(view, frameOf(field, frame, view), value, edits);
  });
  expect(index).toBe(tree.fields.length);
  if (tree.append.length > 0) {
    edits.push({ frame, start: frame.end, end: frame.end, bytes: encode(tree.append) });
  }
}

function outermost(view: SparseBytes): Frame {
  return { prefix: 0, start: 0, end: view.size, parent: undefined };
}

/** @param sizes of payloads: those from 4096 up become gaps */
function trees(sizes: fc.Arbitrary<number>): fc.Arbitrary<Tree> {
  const payload = fc.record({
    number: fc.constant(PAYLOAD),
    value: sizes.map((size) => new Uint8Array(size).fill(0xab)),
  });
  const opaque: fc.Arbitrary<TreeField> = fc.oneof(
    fc.record({
      number: fc.integer({ min: 3, max: 40 }),
      value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    }),
    fc.record({
      number: fc.integer({ min: 3, max: 2 ** 29 - 1 }),
      value: fc.constantFrom({ fixed: 4 }, { fixed: 8 }),
    }),
    fc.record({ number: fc.integer({ min: 3, max: 2000 }), value: fc.uint8Array({ maxLength: 300 }) }),
  );
  const added = fc.array(fc.oneof(opaque, payload), { maxLength: 2 });
  return fc.letrec<{ tree: Tree; field: TreeField }>((tie) => ({
    tree: fc.record({ fields: fc.array(tie("field"), { maxLength: 6 }), append: added }),
    field: fc
      .tuple(
        fc.oneof(
          { depthSize: "small", withCrossShrink: true },
          opaque,
          payload,
          fc.record({ number: fc.constant(MESSAGE), value: tie("tree") }),
        ),
        fc.boolean(),
        fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: added }),
      )
      .map(([field, remove, before]) => ({ ...field, edit: { remove, before } })),
  })).tree;
}

const small = fc.nat(300);
const mixed = fc.oneof(small, fc.integer({ min: 4090, max: 20_000 }));

describe("varintAt()", () => {
  test("decodes what a protobuf writer wrote", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(3), (value, at) => {
        const spelled = new BinaryWriter().uint64(value).finish();
        const bytes = new Uint8Array(at + spelled.length + 1);
        bytes.set(spelled, at);
        expect(varintAt(bytes, at, bytes.length)).toEqual({ value, end: at + spelled.length });
        expect(varintAt(bytes, at, at + spelled.length - 1)).toBeUndefined();
        if (value < 2n ** 53n) expect(varintLength(Number(value))).toBe(spelled.length);
      }),
    );
  });

  test("refuses what is over 64 bits or ten bytes", () => {
    const ten = new Uint8Array(10).fill(0xff);
    ten[9] = 0x02;
    expect(varintAt(ten, 0, 10)).toBeUndefined();
    expect(varintAt(new Uint8Array(11).fill(0x80), 0, 11)).toBeUndefined();
  });
});

describe("fieldAt()", () => {
  const view = (...bytes: number[]): SparseBytes => new SparseBytes("m", Uint8Array.from(bytes));

  test.each([
    ["number 0", [0x00, 0x01]],
    ["a group", [0x0b, 0x0c]],
    ["wire type 6", [0x0e, 0x01]],
    ["an over-long tag", [0x88, 0x00, 0x01]],
    ["a tag over 32 bits", [0x88, 0x80, 0x80, 0x80, 0x10, 0x01]],
    ["no value", [0x08]],
    ["a value that never ends", [0x08, ...Array.from({ length: 11 }, () => 0xff)]],
    ["a length past the end", [0x0a, 0x02, 0x00]],
    ["a length of 2^64 - 1", [0x0a, ...Array.from({ length: 9 }, () => 0xff), 0x01]],
    ["half a fixed32", [0x0d, 1, 2, 3]],
    ["half a fixed64", [0x09, 1, 2, 3, 4, 5, 6, 7]],
  ])("refuses %s", (_, bytes) => {
    expect(() => fieldAt(view(...bytes), 0, bytes.length)).toThrow(
      expect.objectContaining({ name: "FormatError", code: "malformed", path: "m" }),
    );
  });

  test("does not look past the end of its message", () => {
    expect(() => fieldAt(view(0x08, 0x80, 0x01), 0, 2)).toThrow(
      expect.objectContaining({ code: "malformed" }),
    );
  });
});

describe("SparseBytes", () => {
  const file = Uint8Array.from({ length: 30 }, (_, index) => index);
  const gaps = [
    { offset: 5, length: 10 },
    { offset: 15, length: 1 },
    { offset: 20, length: 2 },
  ];
  const kept = file.filter((_, at) => !gaps.some((gap) => at >= gap.offset && at < gap.offset + gap.length));

  test("has the offsets of the whole file, in any order", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(29), { minLength: 1 }), (offsets) => {
        const view = new SparseBytes("m", kept, gaps);
        expect(view.size).toBe(30);
        for (const offset of offsets) {
          if (kept.includes(offset)) {
            expect(view.run(offset)[0]).toBe(offset);
            const run = view.run(offset).length;
            expect(Array.from(view.slice(offset, run))).toEqual(
              Array.from({ length: run }, (_, index) => offset + index),
            );
            if (offset + run < 30)
              expect(() => view.slice(offset, run + 1)).toThrow(/run past the bytes in memory/);
          } else expect(() => view.position(offset)).toThrow(/belongs to a weight/);
        }
      }),
    );
  });
});

describe("splice()", () => {
  test("equals encoding anew, for random messages and edits", SAMPLED, () => {
    fc.assert(
      fc.property(trees(small), (tree) => {
        const view = new SparseBytes("m", encode(tree.fields));
        const edits: Edit[] = [];
        editsOf(view, outermost(view), tree, edits);
        expect(Buffer.from(splice(view, edits))).toEqual(
          Buffer.from(encode([...tree.fields, ...tree.append], true)),
        );
      }),
      { numRuns: some(500) },
    );
  });

  test(
    "equals encoding anew where large payloads are missing and all of them are removed",
    SAMPLED,
    async () => {
      const removing = (tree: Tree): Tree => ({
        append: tree.append,
        fields: tree.fields.map((field) => {
          const { number, value, edit } = field;
          if (isTree(value)) return { ...field, value: removing(value) };
          return number === PAYLOAD
            ? { number, value, edit: { remove: true, before: edit?.before ?? [] } }
            : field;
        }),
      });
      await fc.assert(
        fc.asyncProperty(trees(mixed).map(removing), async (tree) => {
          const view = await fetchSkeleton(memorySource(encode(tree.fields)), shape);
          const edits: Edit[] = [];
          editsOf(view, outermost(view), tree, edits);
          expect(Buffer.from(splice(view, edits))).toEqual(
            Buffer.from(encode([...tree.fields, ...tree.append], true)),
          );
        }),
        { numRuns: some(100) },
      );
    },
  );

  test("keeps a prefix that is longer than it needs to be, unless its message changes", () => {
    const view = new SparseBytes(
      "m",
      Uint8Array.of(0x0a, 0x82, 0x00, 0x18, 0x01, 0x0a, 0x82, 0x00, 0x18, 0x02),
    );
    const frame = outermost(view);
    const [, second] = fieldsOf(view, frame);
    const inner = frameOf(second as Field, frame, view);
    const edits = [{ frame: inner, start: inner.end, end: inner.end, bytes: Uint8Array.of(0x20, 0x03) }];
    expect([...splice(view, edits)]).toEqual([
      0x0a, 0x82, 0x00, 0x18, 0x01, 0x0a, 0x04, 0x18, 0x02, 0x20, 0x03,
    ]);
  });

  test("lengthens the prefixes of all messages around", () => {
    let bytes: Uint8Array = new Uint8Array(0);
    for (let level = 0; level < 30; level++) {
      bytes = new BinaryWriter().tag(MESSAGE, WireType.LengthDelimited).bytes(bytes).finish();
    }
    const view = new SparseBytes("m", bytes);
    let frame = outermost(view);
    while (frame.end > frame.start) frame = frameOf(fieldsOf(view, frame)[0] as Field, frame, view);
    const blob = new BinaryWriter().tag(9, WireType.LengthDelimited).bytes(new Uint8Array(20_000)).finish();
    let expected = blob;
    for (let level = 0; level < 30; level++) {
      expected = new BinaryWriter().tag(MESSAGE, WireType.LengthDelimited).bytes(expected).finish();
    }
    const result = splice(view, [{ frame, start: frame.start, end: frame.end, bytes: blob }]);
    expect(Buffer.from(result)).toEqual(Buffer.from(expected));
  });

  test("refuses to leave a gap", async () => {
    const bytes = encode([{ number: PAYLOAD, value: new Uint8Array(5000) }]);
    const view = await fetchSkeleton(memorySource(bytes), shape);
    expect(() => splice(view, [])).toThrow(expect.objectContaining({ code: "malformed", offset: 3 }));
  });

  test("refuses edits that overlap", () => {
    const view = new SparseBytes("m", Uint8Array.of(0x18, 0x01, 0x18, 0x02));
    const frame = outermost(view);
    const none = new Uint8Array(0);
    expect(() =>
      splice(view, [
        { frame, start: 0, end: 3, bytes: none },
        { frame, start: 2, end: 4, bytes: none },
      ]),
    ).toThrow(RangeError);
  });

  function fieldsOf(view: SparseBytes, frame: Frame): Field[] {
    const fields: Field[] = [];
    eachField(view, frame.start, frame.end, (field) => void fields.push(field));
    return fields;
  }
});

describe("fetchSkeleton()", () => {
  /** Offset and length of every payload that may be skipped. */
  function payloads(tree: readonly TreeField[], start: number): { offset: number; length: number }[] {
    let at = start;
    return tree.flatMap((field) => {
      const length = encode([field]).length;
      at += length;
      const { value } = field;
      if (isTree(value)) return payloads(value.fields, at - encode(value.fields).length);
      if (field.number !== PAYLOAD || !(value instanceof Uint8Array) || value.length < 4096) return [];
      return [{ offset: at - value.length, length: value.length }];
    });
  }

  test("leaves out the large payloads and nothing else, reading forward once", async () => {
    await fc.assert(
      fc.asyncProperty(trees(fc.oneof(small, mixed, fc.constant(100_000))), async ({ fields }) => {
        const file = encode(fields);
        const source = countingSource(memorySource(file));
        const view = await fetchSkeleton(source, shape);

        const gaps = payloads(fields, 0);
        expect(view.gaps).toEqual(gaps);
        expect(view.size).toBe(file.length);
        const kept: Uint8Array[] = [];
        let at = 0;
        for (const gap of gaps) {
          kept.push(file.subarray(at, gap.offset));
          at = gap.offset + gap.length;
        }
        expect(Buffer.from(view.bytes)).toEqual(Buffer.concat([...kept, file.subarray(at)]));

        let front = 0;
        for (const read of source.reads) {
          expect(read.offset).toBeGreaterThanOrEqual(front);
          front = read.offset + read.length;
          expect(read.length).toBeGreaterThan(0);
          expect(read.length).toBeLessThanOrEqual(256 * 1024);
          // A window may run into a gap whose header it holds, but none starts inside one.
          expect(gaps.some((gap) => read.offset > gap.offset && read.offset < gap.offset + gap.length)).toBe(
            false,
          );
        }
      }),
      { numRuns: 200 },
    );
  });

  test("reads a small window for each payload of a long row", async () => {
    const payload = { number: PAYLOAD, value: new Uint8Array(1_000_000) };
    const source = countingSource(memorySource(encode(Array.from({ length: 20 }, () => payload))));
    const view = await fetchSkeleton(source, shape);
    expect(view.bytes.length).toBe(20 * 4);
    expect(source.reads.length).toBe(20);
    expect(source.bytes).toBe(20 * 4096);
  });

  test("finds a header wherever the border between two reads cuts it", async () => {
    for (let length = 4060; length < 4100; length++) {
      const fields = [
        { number: 5, value: new Uint8Array(length) },
        {
          number: MESSAGE,
          value: { fields: [{ number: PAYLOAD, value: new Uint8Array(300_000) }], append: [] },
        },
        { number: 2 ** 29 - 1, value: 2n ** 64n - 1n },
      ];
      const view = await fetchSkeleton(memorySource(encode(fields)), shape);
      expect(view.gaps).toEqual(payloads(fields, 0));
    }
  });

  test("reads an empty file without a read", async () => {
    const source = countingSource(memorySource(new Uint8Array(0)));
    expect((await fetchSkeleton(source, shape)).size).toBe(0);
    expect(source.reads).toEqual([]);
  });

  test("refuses every truncation inside a field", async () => {
    const inner = {
      fields: [
        { number: PAYLOAD, value: new Uint8Array(5000) },
        { number: 4, value: 300n },
      ],
      append: [],
    };
    const file = encode([{ number: MESSAGE, value: inner }]);
    for (let length = 1; length < file.length; length++) {
      const cut = fetchSkeleton(memorySource(file.subarray(0, length), "m"), shape);
      await expect(cut).rejects.toMatchObject({ name: "FormatError", code: "malformed", path: "m" });
    }
  });

  test("refuses messages nested 10,000 deep", async () => {
    // Prefixes of three bytes: a header of four for each level.
    const depth = 10_000;
    const file = new Uint8Array(depth * 5);
    for (let level = 0, at = 0, left = file.length; level < depth; level++, at += 5) {
      left -= 5;
      file.set(
        [0x0a, (left & 0x7f) | 0x80, ((left >> 7) & 0x7f) | 0x80, ((left >> 14) & 0x7f) | 0x80, 0x00],
        at,
      );
    }
    await expect(fetchSkeleton(memorySource(file), shape)).rejects.toMatchObject({
      code: "malformed",
      message: expect.stringContaining("100 levels"),
    });
  });

  test("refuses a length beyond the file without a read for it", async () => {
    const huge = Uint8Array.of(0x12, ...Array.from({ length: 9 }, () => 0xff), 0x01, 0x00);
    const source = countingSource(memorySource(huge));
    await expect(fetchSkeleton(source, shape)).rejects.toMatchObject({ code: "malformed", offset: 0 });
    expect(source.bytes).toBe(huge.length);
  });

  test("refuses a file whose rest does not fit in memory", async () => {
    const size = 2 ** 40;
    const header = new BinaryWriter()
      .tag(5, WireType.LengthDelimited)
      .uint64(size - 7)
      .finish();
    const source: ByteSource = {
      name: "huge",
      size,
      async read(offset, length) {
        const bytes = new Uint8Array(length);
        if (offset === 0) bytes.set(header);
        return bytes;
      },
    };
    expect(header.length).toBe(7);
    await expect(fetchSkeleton(source, shape)).rejects.toMatchObject({ code: "too-large", path: "huge" });
  });

  test("stops when aborted", async () => {
    const signal = AbortSignal.abort();
    const file = memorySource(encode([{ number: 5, value: 1n }]));
    await expect(fetchSkeleton(file, shape, { signal })).rejects.toThrow(/abort/i);
  });
});
