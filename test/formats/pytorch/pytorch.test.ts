import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { FormatError } from "../../../src/errors.ts";
import { parsePickle } from "../../../src/formats/pytorch/pickle.ts";
import { pytorch } from "../../../src/formats/pytorch/format.ts";
import type { PickleValue } from "../../../src/formats/pytorch/values.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { openStore } from "../../../src/tare-store.ts";
import { openModel } from "../../../src/node/open-model.ts";
import { counting } from "../../support/bytes.ts";
import { readFiles } from "../../support/read-files.ts";
import { countingSource } from "../../support/counting-source.ts";
import { LONG } from "../../support/speed.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { thrown } from "../../support/thrown.ts";

const FOLDER = fileURLToPath(new URL("../../../fixtures/pytorch/", import.meta.url));
const EXPECTED = JSON.parse(readFileSync(join(FOLDER, "expected.json"), "utf8")) as Record<
  string,
  Record<
    string,
    { readonly dtype: string; readonly shape: readonly number[]; readonly sha256: string } | null
  >
>;
const NAMES = Object.keys(EXPECTED);

function fixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(FOLDER, name)));
}

/** A pickle of pieces: texts are bytes of ASCII, numbers bytes. */
function pickle(...pieces: readonly (string | number | readonly number[])[]): Uint8Array {
  const bytes = pieces.flatMap((piece) => {
    if (typeof piece === "string") return [...Buffer.from(piece, "latin1")];
    return typeof piece === "number" ? [piece] : [...piece];
  });
  return Uint8Array.from([0x80, 2, ...bytes, 0x2e]);
}

/** A short text. */
const text = (value: string): number[] => [0x8c, value.length, ...Buffer.from(value)];
const uint32 = (value: number): number[] => [...new Uint8Array(Uint32Array.of(value).buffer)];
const binint = (value: number): number[] => [0x4a, ...uint32(value)];

/** What makes a tensor of a storage of 8 numbers. */
function tensor(offset: number, shape: readonly number[], stride: readonly number[]): number[] {
  const parts = [
    "ctorch._utils\n_rebuild_tensor_v2\n((",
    text("storage"),
    "ctorch\nFloatStorage\n",
    text("0"),
    text("cpu"),
    binint(8),
    "tQ",
    binint(offset),
    ["(".charCodeAt(0), ...shape.flatMap(binint), "t".charCodeAt(0)],
    ["(".charCodeAt(0), ...stride.flatMap(binint), "t".charCodeAt(0)],
    [0x89],
    "ccollections\nOrderedDict\n)RtR",
  ];
  return [...pickle(...parts)].slice(2, -1);
}

/** An archive as `torch.save` makes it, of a pickle and one storage. */
function archive(
  data: Uint8Array,
  others: Record<string, Uint8Array> = { "data/0": counting(32) },
): Uint8Array {
  const files = Object.entries(others).map(([name, bytes]) => [`x/${name}`, bytes] as const);
  return zipSync({ "x/data.pkl": data, ...Object.fromEntries(files) }, { level: 0 });
}

function parse(bytes: Uint8Array): PickleValue {
  return parsePickle(bytes, (code, reason, details) => new FormatError(code, reason, details));
}

describe("readPytorch()", () => {
  test.each(NAMES)("finds in %s what torch.load() finds", async (name) => {
    const file = fixture(name);
    const draft = await readFiles(pytorch, { [name]: file });
    const found = (draft.methods[0]?.weights ?? []).map(({ name: weight, dtype, shape, at }) => {
      const data = file.subarray(at.offset, at.offset + at.length);
      const sha256 = createHash("sha256").update(data).digest("hex");
      return [weight, { dtype: dtype === "float8_e8m0" ? "float8_e8m0fnu" : dtype, shape, sha256 }];
    });
    const wanted = Object.entries(EXPECTED[name] ?? {}).filter(([, tensor]) => tensor !== null);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(wanted));
  });

  test("says which tensors stay in the file as they are", async () => {
    const { notes } = await readFiles(pytorch, { "views.pt": fixture("views.pt") });
    expect(notes).toEqual([
      'Tensor "transposed" and 1 more are not contiguous: kept as plain bytes',
      'Tensor "conjugated" is conjugated or negated when it is read: kept as plain bytes',
      'Tensor "quantized" is made by torch._utils._rebuild_qtensor: kept as plain bytes',
      'Tensor "sparse" is made by torch._utils._rebuild_sparse_tensor: kept as plain bytes',
    ]);
    const deflated = await readFiles(pytorch, { "deflated.pt": fixture("deflated.pt") });
    expect(deflated.methods[0]?.weights).toEqual([]);
    expect(deflated.notes).toEqual(['Tensor "tensor" is compressed: kept as plain bytes']);
    const big = archive(pickle(tensor(0, [8], [1])), {
      "data/0": counting(32),
      byteorder: new TextEncoder().encode("big"),
    });
    expect((await readFiles(pytorch, { "x.pt": big })).notes).toEqual([
      'Tensor "tensor" is big-endian: kept as plain bytes',
    ]);
  });

  test("reads nothing of the storages", async () => {
    const bytes = fixture("checkpoint.pth");
    const source = countingSource(memorySource(bytes, "checkpoint.pth"));
    const draft = await pytorch.read([{ path: "checkpoint.pth", source }], { open: async () => undefined });
    const weights = draft.methods[0]?.weights ?? [];
    expect(weights.length).toBeGreaterThan(10);
    // The first reads are of the start and of the tail, which has the directory; the others are of headers and the pickle.
    const inData = source.reads
      .slice(2)
      .filter(({ offset, length }) =>
        weights.some(({ at }) => offset < at.offset + at.length && at.offset < offset + length),
      );
    expect(inData).toEqual([]);
  });

  test("takes views that are contiguous, at their offsets", async () => {
    const file = archive(
      pickle("}(", text("a"), tensor(2, [2, 3], [3, 1]), text("b"), tensor(0, [1, 8], [99, 1]), "u"),
    );
    const draft = await readFiles(pytorch, { "x.pt": file });
    const [a, b] = draft.methods[0]?.weights ?? [];
    expect(a).toMatchObject({ name: "a", shape: [2, 3] });
    expect(b).toMatchObject({ name: "b", shape: [1, 8] });
    expect(file.subarray(a?.at.offset, (a?.at.offset ?? 0) + 24)).toEqual(counting(32).subarray(8));
  });

  test.each<[string, string, string, Uint8Array]>([
    ["a name that is not known", "unsupported", '"posix.system"', fixture("refused-code.pt")],
    ["what is no archive", "unknown-format", "zip archive", counting(1000)],
    ["another archive", "unknown-format", "torch.save", zipSync({ "a.npy": counting(10) })],
    ["a compressed pickle", "unsupported", "is compressed", zipSync({ "x/data.pkl": new Uint8Array(1000) })],
    [
      "a storage that is not there",
      "malformed",
      'storage "0" is not in it',
      archive(pickle(tensor(0, [8], [1])), {}),
    ],
    [
      "a storage of another size",
      "size-mismatch",
      "has 31 bytes, not 32",
      archive(pickle(tensor(0, [8], [1])), { "data/0": counting(31) }),
    ],
    [
      "a view past its storage",
      "malformed",
      "past the end of storage",
      archive(pickle(tensor(3, [2, 3], [3, 1]))),
    ],
    [
      "a stride too few",
      "malformed",
      "offset, shape or stride is invalid",
      archive(pickle(tensor(0, [2, 3], [3]))),
    ],
    [
      "a negative shape",
      "malformed",
      "offset, shape or stride is invalid",
      archive(pickle(tensor(0, [-2], [1]))),
    ],
    ["a large shape", "too-large", "shape", archive(pickle(tensor(0, [2 ** 30, 2 ** 30], [1, 1])))],
    [
      "two keys of one path",
      "duplicate",
      "several tensors",
      archive(
        pickle("}(", text("a.b"), tensor(0, [1], [1]), text("a"), "}", text("b"), tensor(0, [1], [1]), "su"),
      ),
    ],
    [
      "another byte order",
      "unsupported",
      "byte order",
      archive(pickle("}"), { byteorder: new TextEncoder().encode("middle") }),
    ],
  ])("refuses %s", async (_, code, reason, file) => {
    const error = await thrown(readFiles(pytorch, { "x.pt": file }));
    expect(error.message).toContain(reason);
    expect(error.code).toBe(code);
  });

  test("refuses nesting, cycles and views without end", LONG, async () => {
    const deep = pickle("}", ...Array.from({ length: 100 }, () => [...text("a"), 0x7d]), "s".repeat(100));
    // A list in itself, twice: 2^64 values on the way down.
    const cycle = pickle("]q", 0, "(h", 0, "h", 0, "e");
    const many = Array.from({ length: 8 }, (_, nth) => [...text(`${nth}`), ...tensor(nth, [8 - nth], [1])]);
    // A list of a hundred thousand values, a thousand times.
    const long = ["]q", 0, "(", "N".repeat(100_000), "e0"] as const;
    const repeated = pickle(...long, "](", "h\0".repeat(1000), "e");
    // A dict that has the one before twice, thirty times over: 2^30 ways through a hundred bytes.
    const level = (nth: number) =>
      ["}(", text("a"), "h", nth, text("b"), "h", nth, "uq", nth + 1, "0"] as const;
    const levels = Array.from({ length: 30 }, (_, nth) => level(nth));
    const doubled = pickle("}q", 0, "0", ...levels.flat(), "h", 30);
    for (const file of [deep, cycle, repeated, doubled]) {
      expect(await thrown(readFiles(pytorch, { "x.pt": archive(file) }))).toMatchObject({
        code: "too-large",
      });
    }
    // Eight views over one another are no harm, and come back.
    expect(await readFiles(pytorch, { "x.pt": archive(pickle("}(", ...many, "u")) })).toBeDefined();
    const overlapping = Array.from({ length: 3000 }, (_, nth) => {
      return [0x58, ...uint32(4), ...Buffer.from(String(nth).padStart(4, "0")), 0x68, 1, 0x28, 0x68, 0]
        .concat(binint(nth))
        .concat([0x28, ...binint(3000), 0x74, 0x28, ...binint(1), 0x74, 0x89, 0x4e, 0x74, 0x52]);
    });
    const shared = pickle(
      "}(",
      text("s"),
      ["(".charCodeAt(0), ...text("storage")],
      "ctorch\nFloatStorage\n",
      text("0"),
      text("cpu"),
      binint(6000),
      "tQq",
      0,
      text("f"),
      "ctorch._utils\n_rebuild_tensor_v2\nq",
      1,
      ...overlapping,
      "u",
    );
    const bomb = archive(shared, { "data/0": new Uint8Array(24_000) });
    expect(await thrown(readFiles(pytorch, { "x.pt": bomb }))).toMatchObject({ code: "too-large" });
  });
});

describe("readPytorch() of objects of unknown classes", () => {
  const namespace = ["cargparse\nNamespace\n)\x81}", text("lr"), binint(1), "sb"] as const;

  test("skips those without tensors", async () => {
    const file = archive(pickle("}(", text("w"), tensor(0, [8], [1]), text("hyper"), ...namespace, "u"));
    const { methods, notes } = await readFiles(pytorch, { "x.pt": file });
    expect(methods[0]?.weights).toMatchObject([{ name: "w" }]);
    expect([methods[0]?.loose, notes]).toEqual([undefined, undefined]);
  });

  test("lists the tensors in them as ones that cannot be read", async () => {
    const module = ["cmine\nNet\n)\x81}", text("w"), tensor(0, [4], [1]), "sb"] as const;
    const file = archive(
      pickle("}(", text("w"), tensor(0, [8], [1]), text("net"), ...module, text("again"), ...module, "u"),
    );
    const { methods } = await readFiles(pytorch, { "x.pt": file });
    const form = 'in an object of class "mine.Net", which tare does not know';
    expect(methods[0]?.weights.map(({ name }) => name)).toEqual(["w"]);
    expect(methods[0]?.loose).toMatchObject([
      { name: "net.w", form },
      { name: "again.w", form },
    ]);
    const error = await thrown(readFiles(pytorch, { "x.pt": archive(pickle(...module)) }));
    expect(error).toMatchObject({ code: "unsupported", tensor: "w" });
    expect(error.message).toContain(form);
  });
});

describe("readPytorch() of the form before version 1.6", () => {
  test("refuses a file that is cut off anywhere", async () => {
    const file = fixture("legacy.pt");
    expect((await readFiles(pytorch, { "x.pt": file })).methods[0]?.weights).toMatchObject([
      { name: "a", dtype: "float32", shape: [2], at: { length: 8, offset: file.byteLength - 8 } },
    ]);
    for (let end = 10; end < file.byteLength; end += 7) {
      const error = await thrown(readFiles(pytorch, { "x.pt": file.subarray(0, end) }));
      expect(error.code).toBe("malformed");
    }
  });
});

describe("parsePickle()", () => {
  test("reads what Python writes, as data", () => {
    expect(parse(pickle("]", binint(-2), "a"))).toEqual({ kind: "list", items: [-2] });
    expect(parse(pickle("G", [0x3f, 0xe0, 0, 0, 0, 0, 0, 0]))).toBe(0.5);
    expect(parse(pickle([0x8a, 1, 0xff]))).toBe(-1);
    expect(parse(pickle([0x8a, 0]))).toBe(0);
    expect(parse(pickle([0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 64]))).toBe(2n ** 70n);
    expect(parse(pickle("C", 2, "ab"))).toEqual(Uint8Array.of(97, 98));
    expect(parse(pickle([0x8f], "(", [0x88, 0x90]))).toEqual({ kind: "set", items: [true] });
    expect(parse(pickle(text("torch"), text("Size"), [0x93], ")", [0x85, 0x52]))).toEqual({
      kind: "call",
      name: "torch.Size",
      args: [{ kind: "tuple", items: [] }],
    });
    expect(
      parse(pickle("ccollections\nOrderedDict\n]", "]", binint(1), "a", binint(2), "aa", [0x85, 0x52])),
    ).toEqual({
      kind: "dict",
      entries: new Map([[1, 2]]),
    });
  });

  test.each<[string, string, Uint8Array]>([
    ["malformed", "nothing", Uint8Array.of()],
    ["malformed", "no value", pickle()],
    ["malformed", "two values", pickle("NN")],
    ["malformed", "an open mark", pickle("(N")],
    ["malformed", "bytes after the end", Uint8Array.of(0x80, 2, 0x4e, 0x2e, 0x4e)],
    ["malformed", "values below a mark", pickle("N(", 0x85)],
    ["malformed", "items of no dict", pickle("]NNs")],
    ["malformed", "an odd number of items", pickle("}(Nu")],
    ["malformed", "items of no list", pickle("}Na")],
    ["malformed", "a value that was not kept", pickle("h", 7)],
    ["malformed", "a call of a text", pickle(text("os"), ")R")],
    ["malformed", "a text past the end", pickle("X", [0xff, 0xff, 0xff, 0xff])],
    ["malformed", "a text of 2^64 bytes", pickle(0x8d, [255, 255, 255, 255, 255, 255, 255, 255])],
    ["malformed", "a text that is not UTF-8", pickle(0x8c, 1, 0xff)],
    ["malformed", "a name without an end", pickle("cos")],
    ["malformed", "a long name", pickle(`c${"a".repeat(300)}\nb\n`)],
    ["too-large", "a long whole number", pickle(0x8a, 65, "a".repeat(65))],
    ["too-large", "a whole number of 2 GB", pickle(0x8b, [0, 0, 0, 0x7f])],
    [
      "too-large",
      "many dicts of one long list",
      pickle(
        "]q",
        0,
        "(",
        "NN\x86".repeat(50_000),
        "e0ccollections\nOrderedDict\nq",
        1,
        "(",
        "h\x01h\x00\x85R".repeat(50),
        "t",
      ),
    ],
    ["too-large", "a million lists", pickle("]".repeat(1_000_001))],
    [
      "too-large",
      "eight million values",
      Uint8Array.from({ length: 8_000_004 }, (_, at) => [0x80, 2][at] ?? 0x4e),
    ],
    ["too-large", "a million marks", pickle("(".repeat(1_000_001))],
    ["unsupported", "protocol 1", Uint8Array.of(0x80, 1, 0x4e, 0x2e)],
    ["unsupported", "a class of protocol 0", pickle("(ios\nsystem\n")],
    ["unsupported", "an extension code", pickle(0x82, 1)],
    ["unsupported", "a builtin that runs code", pickle("cbuiltins\neval\n")],
    ["unsupported", "a call of what runs code", pickle("cposix\nsystem\n", text("id"), [0x85], "R")],
    ["unsupported", "a state for what runs code", pickle("cos\nsystem\n)\x81}b")],
    ["unsupported", "a call by names from the stack", pickle(text("os"), text("system"), 0x93, ")R")],
    ["unsupported", "a name in a name", pickle(text("builtins"), text("getattr"), 0x93)],
  ])("refuses as %s: %s", (code, _, bytes) => {
    expect(() => parse(bytes)).toThrow(expect.objectContaining({ code }));
  });

  test("keeps no more than a million values", LONG, () => {
    const puts = new Uint8Array(5 * 1_000_001 + 4);
    puts.set([0x80, 2, 0x4e]);
    const view = new DataView(puts.buffer);
    for (let nth = 0; nth <= 1_000_000; nth++) {
      view.setUint8(3 + nth * 5, 0x72);
      view.setUint32(4 + nth * 5, nth, true);
    }
    puts[puts.length - 1] = 0x2e;
    expect(() => parse(puts)).toThrow(expect.objectContaining({ code: "too-large" }));
  });
});

describe("checkpoints in a store", () => {
  test("come back byte for byte, and share with safetensors files", async () => {
    const folder = await temporaryFolder();
    const store = await openStore({ path: join(folder, "store") });
    for (const name of [...NAMES, "deflated.pt"]) {
      await store.add([join(FOLDER, name)], { as: name });
      await store.export(name, join(folder, name));
      expect((await readFile(join(folder, name))).equals(await readFile(join(FOLDER, name)))).toBe(true);
    }
    const bytes = counting(64 * 256 * 4, 5);
    const data = [...tensor(0, [64, 256], [256, 1])];
    // The storage's number of elements is where 8 is said.
    const at = Buffer.from(data).indexOf(Buffer.from([...Buffer.from("cpu"), ...binint(8)])) + 3;
    data.splice(at, 5, ...binint(64 * 256));
    await writeFile(join(folder, "w.pt"), archive(pickle(data), { "data/0": bytes }));
    const plain = { dtype: "float32", shape: [64, 256], bytes } as const;
    await writeFile(join(folder, "w.safetensors"), writeSafetensors({ w: plain }));
    await store.add([join(folder, "w.safetensors")], { as: "s" });
    expect((await store.add([join(folder, "w.pt")], { as: "p" })).newBytes).toBeLessThan(4096);
    expect((await store.verify({ full: true })).problems).toEqual([]);
  });

  test("are not the model of a folder that has another", async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, "m"));
    await writeFile(join(folder, "m", "model.safetensors"), writeSafetensors({}));
    await writeFile(join(folder, "m", "optimizer.pt"), fixture("lone.pt"));
    await using model = await openModel([join(folder, "m")]);
    expect(model.draft.format).toBe("safetensors");
  });
});
