import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { fillText, missingKeys, textManifest, thinText } from "../../../src/formats/mlir/edit-text.ts";
import { decodeHex, encodeHex } from "../../../src/io/hex.ts";
import { readMlirText, textBlobs } from "../../../src/formats/mlir/text.ts";
import { decodeString, encodeString } from "../../../src/formats/mlir/text-chunks.ts";
import { allowedLengths, parseTextType, plainTensor } from "../../../src/formats/mlir/text-types.ts";
import { mlirBytes, render } from "../../support/mlir.ts";
import { thrown } from "../../support/thrown.ts";

function source(text: string | Uint8Array): ReturnType<typeof memorySource> {
  return memorySource(typeof text === "string" ? new TextEncoder().encode(text) : text, "x.mlir");
}

const block = (body: string): string => `module {}\n{-#\n${body}\n#-}\n`;
const builtin = (body: string): string => block(`dialect_resources: { builtin: { ${body} } }`);

describe("readMlirText()", () => {
  test("finds uses and blobs, and is not misled by strings and comments", async () => {
    const file = await readMlirText(source(mlirBytes("small.mlir")));
    expect(file.uses.map(({ key, type }) => [key, type?.text])).toEqual([
      ["scale", "tensor<4xf32>"],
      ["mask", "tensor<3xi1>"],
      ["unused", "tensor<2x2xf32>"],
      ["layer.0.shift", "tensor<4xf32>"],
      ["nibbles", "tensor<3x3xi4>"],
    ]);
    expect((await textBlobs(file)).map(({ key, alignment, length }) => [key, alignment, length])).toEqual([
      ["scale", 4, 16],
      ["mask", 1, 3],
      ["unused", 8, 16],
      ["layer.0.shift", 16, 16],
      ["nibbles", 1, 5],
    ]);
  });

  test("finds what lies across the borders of what is at hand", async () => {
    const use = '"a\\"b" dense_resource<far> : tensor<8xi8> // "\n';
    const hex = "0x01000000" + "AB".repeat(3_000_000);
    for (const shift of [0, 1, 5, 17]) {
      const text = `${" ".repeat(262_144 - 20 + shift)}${use}${"x ".repeat(2_100_000)}${use.replace("far", "farther")}{-# dialect_resources: { builtin: { far: "${hex}", "far ther": "0x0100000001" } } #-}`;
      const file = await readMlirText(source(text));
      expect(file.uses.map((each) => each.key)).toEqual(["far", "farther"]);
      expect(file.metadata?.end).toBe(text.length);
      expect((await textBlobs(file)).map((each) => [each.key, each.length])).toEqual([
        ["far", 3_000_000],
        ["far ther", 1],
      ]);
    }
  });

  test("goes over a string of escapes once, and over a type of spaces", async () => {
    const spaces = " ".repeat(250_000);
    const text = `"${"\\\\".repeat(8_000_000)}" dense_resource<a> : tensor<4xf32${spaces}y>`;
    expect((await readMlirText(source(text))).uses).toMatchObject([{ key: "a", type: undefined }]);
  });

  test.each([
    ["a key twice", builtin('a: "0x0100000001", a: "0x0100000001"'), "duplicate", /"a" of "x.mlir"/],
    ["a string without end", builtin('a: "0x01'), "malformed", /does not end/],
    ["an unknown section", block("resources: {}"), "unsupported", /section "resources"/],
    ["metadata without end", "{-# dialect_resources: {", "malformed", /does not end/],
    ["a missing comma", builtin('a: "0x0100000001" b: "0x0100000001"'), "malformed", /has an unexpected "b"/],
    [
      "another program behind",
      `${builtin('a: "0x0100000001"')}module {}`,
      "unsupported",
      /it has a second program/,
    ],
  ])("refuses %s", async (_, text, code, message) => {
    const error = await thrown(readMlirText(source(text)));
    expect(error).toMatchObject({ code, path: "x.mlir", offset: expect.any(Number) });
    expect(error.message).toMatch(message);
  });

  test.each([
    ["half bytes", "0x010000000"],
    ["no alignment", "0x0100"],
    ["an alignment of 3", "0x0300000001"],
    ["an alignment of 2^31", "0x0000008001"],
    ["other characters in the alignment", "0x0100zz00"],
  ])("refuses blobs with %s", async (_, value) => {
    const file = await readMlirText(source(builtin(`a: "${value}"`)));
    expect(await thrown(textBlobs(file))).toMatchObject({ code: "malformed", tensor: "a" });
  });
});

describe("thinText() and fillText()", () => {
  test.each(["small.mlir", "base.mlir", "small-lowered.mlir"])("give %s back byte for byte", async (name) => {
    const bytes = mlirBytes(name);
    const file = await readMlirText(source(bytes));
    const blobs = await textBlobs(file);
    const weights = new Map(blobs.map(({ key, length, alignment }) => [key, { length, alignment }]));
    const manifest = { file: { version: 1 as const, model: 'a "b" \\ é' }, weights };
    const thin = render(thinText(file, manifest), bytes);
    const read = await readMlirText(source(thin));
    expect(missingKeys(read)).toEqual(blobs.map((blob) => blob.key));
    expect(textManifest(read)).toEqual(manifest);
    const data = blobs.map(({ key, offset, length }): [string, Uint8Array] => {
      return [key, decodeHex(bytes.subarray(offset, offset + 2 * length)) as Uint8Array];
    });
    expect(new TextDecoder().decode(render(fillText(read, weights), thin, new Map(data)))).toBe(
      new TextDecoder().decode(bytes),
    );
  });

  test("adds resources to a text that has none", async () => {
    const text = 'module {\n  "a.b"() {v = dense_resource<w> : tensor<2xi8>} : () -> ()\n}\n';
    const file = await readMlirText(source(text));
    const pieces = fillText(file, new Map([["w", { length: 2, alignment: 4 }]]));
    const out = render(pieces, new TextEncoder().encode(text), new Map([["w", Uint8Array.of(1, 255)]]));
    expect(new TextDecoder().decode(out)).toBe(
      `${text}\n{-#\n  dialect_resources: {\n    builtin: {\n      w: "0x0400000001FF"\n    }\n  }\n#-}\n`,
    );
  });
});

describe("globals that wait for a value", () => {
  test("get it as a resource of their name", async () => {
    const text = `#extern = #ml_program.extern
#other = #ml_program.external
module {
  ml_program.global private @layer.w(#extern) : tensor<2xi8>
  ml_program.global private mutable @"a/b"(#ml_program.extern<tensor<1xi8>>) : tensor<1xi8>
  ml_program.global public @typed(#ml_program.extern : tensor<1xi8>) : tensor<1xi8>
  ml_program.global private @own(dense<1> : tensor<1xi8>) : tensor<1xi8>
  ml_program.global private @odd(#other) : tensor<1xi8>
}
`;
    const file = await readMlirText(source(text));
    expect(file.externs.map(({ key, type }) => [key, type?.text])).toEqual([
      ["layer.w", "tensor<2xi8>"],
      ["a/b", "tensor<1xi8>"],
      ["typed", "tensor<1xi8>"],
    ]);
    const layouts = new Map([
      ["layer.w", { length: 2, alignment: 1 }],
      ["a/b", { length: 1, alignment: 1 }],
    ]);
    const data = new Map([
      ["layer.w", Uint8Array.of(1, 2)],
      ["a/b", Uint8Array.of(3)],
    ]);
    const out = render(fillText(file, layouts), new TextEncoder().encode(text), data);
    const changed = text
      .replace("w(#extern)", "w(dense_resource<layer.w> : tensor<2xi8>)")
      .replace("#ml_program.extern<tensor<1xi8>>", 'dense_resource<"a/b"> : tensor<1xi8>');
    const resources = `      layer.w: "0x010000000102",\n      "a/b": "0x0100000003"`;
    expect(new TextDecoder().decode(out)).toBe(
      `${changed}\n{-#\n  dialect_resources: {\n    builtin: {\n${resources}\n    }\n  }\n#-}\n`,
    );
  });
});

describe("parseTextType()", () => {
  test.each([
    ["tensor<4x8xf32>", [128, 4]],
    ["tensor<f64>", [8]],
    ["vector<3xbf16>", [6, 2]],
    ["tensor<9xi1>", [9, 1, 2]],
    ["tensor<3x3xi4>", [9, 1, 5]],
    ["tensor<2xi7>", [2, 1]],
    ["tensor<5xui2>", [5, 1, 2]],
    ["tensor<2xindex>", [16, 8]],
    ["tensor<3xcomplex<f32>>", [24, 8]],
    ["tensor<4xf8E4M3FN>", [4, 1]],
    ["tensor<4xi32, #some.encoding>", [16, 4]],
    ["tensor<2xi48>", [12, 16, 6, 8]],
  ])("tells how many bytes %s may have", (text, lengths) => {
    const type = parseTextType(text);
    expect([...allowedLengths(type as NonNullable<typeof type>)].sort()).toEqual([...lengths].sort());
  });

  test.each(["tensor<?x4xf32>", "tensor<*xf32>", "tensor<4x!quant.uniform<i8:f32, 1.0>>", "memref<4xf32>"])(
    "tells nothing of %s",
    (text) => expect(parseTextType(text)).toBeUndefined(),
  );

  test("takes space around the element, and an encoding behind it", () => {
    expect(parseTextType("tensor<4x f32 >")).toMatchObject({ shape: [4], element: "f32" });
    expect(parseTextType("tensor<4xf32 , #a<b, c>>")).toMatchObject({ shape: [4], element: "f32" });
  });

  test("knows plain tensors from packed ones and splats", () => {
    expect(plainTensor(parseTextType("tensor<2x2xf32>"), 16)).toEqual({ dtype: "float32", shape: [2, 2] });
    expect(plainTensor(parseTextType("tensor<2x2xf32>"), 4)).toBeUndefined();
    expect(plainTensor(parseTextType("tensor<9xi1>"), 9)).toEqual({ dtype: "bool", shape: [9] });
    expect(plainTensor(parseTextType("tensor<9xi4>"), 9)).toBeUndefined();
  });
});

describe("strings and digits", () => {
  test("are read as they are spelled", () => {
    for (const text of ['a "b" \\ c', "é\n\t\0", "\\22"]) {
      const raw = encodeString(text);
      expect(raw).toMatch(/^[ !#-~]*$/);
      expect(decodeString(raw)).toBe(text);
    }
    expect(decodeString("\\n\\t\\\\\\22\\C3\\A9")).toBe('\n\t\\"é');
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    expect(new TextDecoder().decode(encodeHex(bytes))).toBe(Buffer.from(bytes).toString("hex").toUpperCase());
    expect(decodeHex(encodeHex(bytes))).toEqual(bytes);
    expect(decodeHex(new TextEncoder().encode("00fF0g"))).toBe(5);
  });
});
