import { copyFile, readdir, readFile, rename, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { convertWeights } from "../../../src/operations/convert/convert.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { parseSafetensors } from "../../../src/formats/safetensors/parse.ts";
import { detachInPlace, detach } from "../../../src/operations/mlir/detach.ts";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import { mlirBytes, mlirPath } from "../../support/mlir.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { thrown } from "../../support/thrown.ts";
import { runtimeOf } from "../../support/runtime.ts";
import { describeModel } from "../../../src/operations/describe.ts";
import { attach, listResources } from "../../../src/operations/mlir/attach.ts";

let folder: string;
let store: TareStore;
beforeEach(async () => {
  folder = await temporaryFolder();
  store = await openStore({ path: join(folder, "store") });
});
const at = (name: string): string => join(folder, name);

async function expectSame(path: string, fixture: string): Promise<void> {
  expect((await readFile(path)).equals(mlirBytes(fixture))).toBe(true);
}

describe("detach() and attach()", () => {
  test.each(["19", "22"])("give what LLVM %s makes of the fat file, byte for byte", async (llvm) => {
    const thin = await detach(store, mlirPath(`base-${llvm}.mlirbc`), at("thin.mlirbc"), { as: "base" });
    expect(thin).toMatchObject({ weights: 6, weightBytes: 16_696, added: { name: "base", weights: 6 } });
    // The thin file that LLVM read when the fixtures were made.
    await expectSame(thin.path, `thin-${llvm}.mlirbc`);
    const lowered = mlirPath(`lowered-thin-${llvm}.mlirbc`);
    const full = await attach(store, lowered, at("full.mlirbc"));
    expect(full).toMatchObject({ weights: 5, unused: ["unused"], notes: [] });
    await expectSame(full.path, `lowered-${llvm}.mlirbc`);
    await attach(store, thin.path, at("again.mlirbc"));
    await expectSame(at("again.mlirbc"), `base-${llvm}.mlirbc`);
    await store.export("base", at("exported.mlirbc"));
    await expectSame(at("exported.mlirbc"), `base-${llvm}.mlirbc`);
  });

  test("give what LLVM prints of the fat file, byte for byte", async () => {
    await store.add([mlirPath("small-6.mlirbc")], { as: "base" });
    await attach(store, mlirPath("small-lowered-thin.mlir"), at("full.mlir"));
    await expectSame(at("full.mlir"), "small-lowered.mlir");
  });

  test("keep a text as it is, its weights typed, and shared with bytecode", async () => {
    await store.add([mlirPath("base-22.mlirbc")]);
    const { added } = await detach(store, mlirPath("base.mlir"), at("thin.mlir"), { as: "text" });
    expect((await describeModel(store, "text")).sharedBytes).toBe(16_640 + 16 + 3 + 16 + 16 + 5);
    expect(added?.newBytes).toBeLessThan(8192);
    await attach(store, at("thin.mlir"), at("full.mlir"));
    await expectSame(at("full.mlir"), "base.mlir");
    await store.export("text", at("whole.mlir"));
    await expectSame(at("whole.mlir"), "base.mlir");
    await convertWeights(await store.weights("text"), at("weights.safetensors"));
    const tensors = parseSafetensors(await readFile(at("weights.safetensors")), "weights");
    expect(Object.entries(tensors).map(([name, { dtype, shape }]) => [name, dtype, shape.join()])).toEqual([
      ["large", "float32", "64,65"],
      ["layer.0.shift", "float32", "4"],
      ["scale", "float32", "4"],
      ["unused", "float32", "2,2"],
      ["nibbles", "uint8", "5"],
      ["mask", "bool", "3"],
    ]);
  });

  test("let globals wait for their weights where that is asked for, and give them back", async () => {
    const bytes = (seed: number): string =>
      Array.from({ length: 16 }, (_, nth) =>
        (nth * 13 + seed).toString(16).toUpperCase().padStart(2, "0"),
      ).join("");
    const text = (w: string): string => `module {
  ml_program.global private @w(${w}) : tensor<4xf32>
  ml_program.global private mutable @"a b"(dense_resource<twice> : tensor<4xf32>) : tensor<4xf32>
  func.func @main() -> tensor<4xf32> {
    %0 = arith.constant dense_resource<twice> : tensor<4xf32>
    return %0 : tensor<4xf32>
  }
}
`;
    const metadata = (key: string): string =>
      `\n{-#\n  dialect_resources: {\n    builtin: {\n      ${key}: "0x04000000${bytes(1)}",\n      twice: "0x04000000${bytes(2)}"\n    }\n  }\n#-}\n`;
    await writeFile(at("globals.mlir"), text("dense_resource<k> : tensor<4xf32>") + metadata("k"));
    for (const place of ["store", "in-place"]) {
      const thin = at(`thin-${place}.mlir`);
      if (place === "store") await detach(store, at("globals.mlir"), thin, { extern: true });
      else await detachInPlace(at("globals.mlir"), thin, { extern: true });
      expect(await readFile(thin, "utf8")).toContain(text("#ml_program.extern : tensor<4xf32>"));
      expect((await listResources(store, thin)).map(({ key, state }) => [key, state])).toEqual([
        ["twice", "found"],
        ["w", "found"],
      ]);
      await attach(store, thin, at(`full-${place}.mlir`));
      const full = await readFile(at(`full-${place}.mlir`), "utf8");
      expect(full).toContain(text("dense_resource<w> : tensor<4xf32>"));
      for (const [key, seed] of [
        ["w", 1],
        ["twice", 2],
      ] as const)
        expect(full).toContain(`${key}: "0x04000000${bytes(seed)}"`);
    }
    expect(await thrown(detach(store, mlirPath("base.mlir"), at("x.mlir"), { extern: true }))).toMatchObject({
      code: "unsupported",
    });
  });

  test("keep digits in lower case, and refuse those in both", async () => {
    const text = await readFile(mlirPath("base.mlir"), "utf8");
    const lower = text.replace(/"0x[0-9A-F]+"/g, (digits) => digits.toLowerCase());
    expect(lower).not.toBe(text);
    await writeFile(at("lower.mlir"), lower);
    await store.add([mlirPath("base.mlir")]);
    const { newBytes } = await store.add([at("lower.mlir")]);
    expect(newBytes).toBeLessThan(16_384);
    await store.export("lower", at("again.mlir"));
    expect(await readFile(at("again.mlir"), "utf8")).toBe(lower);
    const last = lower.lastIndexOf("f", lower.indexOf('"', lower.indexOf('large: "0x') + 8));
    expect(last).toBeGreaterThan(16_384);
    await writeFile(at("mixed.mlir"), `${lower.slice(0, last)}F${lower.slice(last + 1)}`);
    expect(await thrown(store.add([at("mixed.mlir")]))).toMatchObject({
      code: "malformed",
      path: at("mixed.mlir"),
      offset: last,
    });
  });

  test("find the weights after the model was renamed, and say which are gone", async () => {
    await detach(store, mlirPath("base-22.mlirbc"), at("thin.mlirbc"), { as: "old" });
    await store.add([mlirPath("base-22.mlirbc")], { as: "new" });
    await store.remove(["old"]);
    await attach(store, at("thin.mlirbc"), at("full.mlirbc"));
    await expectSame(at("full.mlirbc"), "base-22.mlirbc");
    await store.remove(["new"]);
    const error = await thrown(attach(store, at("thin.mlirbc"), at("none.mlirbc")));
    expect(error).toMatchObject({ code: "missing-weight", path: at("thin.mlirbc") });
    expect(error.message).toMatch(/: missing: "scale", "mask", .* and 1 more$/);
    expect(error).toMatchObject({ name: "WeightMismatchError", missing: { length: 6 } });
    await expect(readFile(at("none.mlirbc"))).rejects.toThrow();
  });

  test("refuse a damaged blob, naming the weight, and leave nothing behind", async () => {
    await detach(store, mlirPath("base-22.mlirbc"), at("thin.mlirbc"));
    const { methods } = await describeModel(store, "base-22");
    const large = methods[0]?.weights.find((weight) => weight.name === "large");
    const blob = at(`store/blobs/sha256/${large?.digest.slice(7)}`);
    const bytes = await readFile(blob);
    bytes[100] = (bytes[100] as number) ^ 1;
    await writeFile(at("other"), bytes);
    await rename(at("other"), blob);
    expect(await thrown(attach(store, at("thin.mlirbc"), at("full.mlirbc")))).toMatchObject({
      code: "corrupted",
      tensor: "large",
    });
    await expect(readFile(at("full.mlirbc"))).rejects.toThrow();
    expect(await thrown(listResources(store, at("thin.mlirbc"), { verify: true }))).toMatchObject({
      code: "corrupted",
      tensor: "large",
    });
  });

  test.each(["base-22.mlirbc", "base.mlir"])(
    "leave nothing behind when they are stopped: %s",
    async (name) => {
      await detach(store, mlirPath(name), at("thin"), { as: "x" });
      const before = (await readdir(folder)).sort();
      const stop = new AbortController();
      const { signal } = stop;
      const onProgress = (): void => stop.abort(new Error("stopped"));
      await expect(attach(store, at("thin"), at("full"), { signal, onProgress })).rejects.toThrow("stopped");
      const other = detach(store, mlirPath(name), at("thin-2"), { as: "y", signal, onProgress });
      await expect(other).rejects.toThrow("stopped");
      expect((await readdir(folder)).sort()).toEqual(before);
      expect((await store.list()).map((model) => model.name)).toEqual(["x"]);
    },
  );

  test("refuse files without weights, paths where something is, and programs that lost the names", async () => {
    expect(await thrown(detach(store, mlirPath("thin-22.mlirbc"), at("x")))).toMatchObject({
      code: "missing-weight",
      hint: expect.stringContaining("already detached"),
    });
    await writeFile(at("there"), "");
    const base = mlirPath("base-22.mlirbc");
    expect(await thrown(detach(store, base, at("there")))).toMatchObject({ code: "exists" });
    expect(await thrown(attach(store, mlirPath("thin-22.mlirbc"), at("there")))).toMatchObject({
      code: "exists",
    });
    await writeFile(
      at("elided.mlir"),
      '"a.b"() {v = dense_resource<__elided__> : tensor<2xi8>} : () -> ()\n',
    );
    expect(await thrown(attach(store, at("elided.mlir"), at("x")))).toMatchObject({
      code: "missing-weight",
      hint: expect.stringContaining("names are lost"),
    });
  });

  test("tell where another LLVM went over bytecode that is for one alone", async () => {
    await detach(store, mlirPath("base-19.mlirbc"), at("thin.mlirbc"), { as: "base" });
    const crossed = mlirBytes("lowered-thin-19.mlirbc");
    crossed.set(new TextEncoder().encode("MLIR22.1.8"), 5);
    await writeFile(at("crossed.mlirbc"), crossed);
    const { notes } = await attach(store, at("crossed.mlirbc"), at("full.mlirbc"));
    expect(notes).toEqual([expect.stringMatching(/^MLIR19.1.7 wrote .* MLIR22.1.8 wrote this .*version=4/)]);
  });
});

describe("attach({ from })", () => {
  const f32 = (
    shape: number[],
    dtype: "float32" | "int32" = "float32",
  ): Parameters<typeof writeSafetensors>[0][string] => {
    const count = shape.reduce((a, b) => a * b, 1);
    return { dtype, shape, bytes: new Uint8Array(new Float32Array(count).fill(0.5).buffer) };
  };
  const bools = { dtype: "bool", shape: [3], bytes: Uint8Array.of(1, 0, 1) } as const;
  const raw = (length: number) =>
    ({ dtype: "uint8", shape: [length], bytes: new Uint8Array(length).fill(17) }) as const;
  const fitting = {
    scale: f32([4]),
    mask: bools,
    "layer.0.shift": f32([4]),
    nibbles: raw(5),
    more: f32([7]),
  };
  const thin = mlirPath("small-lowered-thin.mlir");

  test("takes weights of a file by name, and checks them against the program's types", async () => {
    await writeFile(at("new.safetensors"), writeSafetensors(fitting));
    const result = await attach(store, thin, at("full.mlir"), { from: at("new.safetensors") });
    expect(result).toMatchObject({ weights: 4, unused: ["more"] });
    const text = await readFile(at("full.mlir"), "utf8");
    expect(text).toContain('scale: "0x040000000000003F0000003F0000003F0000003F"');
    expect(text).toContain('nibbles: "0x010000001111111111"');
    // A model of the store by the same way, and from bytecode to text.
    await store.add([at("new.safetensors")], { as: "new" });
    await attach(store, thin, at("stored.mlir"), { from: "new" });
    expect(await readFile(at("stored.mlir"), "utf8")).toBe(text);
    await attach(store, thin, at("crossed.mlir"), { from: mlirPath("small-4.mlirbc") });
    await expectSame(at("crossed.mlir"), "small-lowered.mlir");
    await attach(store, thin, at("texts.mlir"), { from: mlirPath("small.mlir") });
    await expectSame(at("texts.mlir"), "small-lowered.mlir");
  });

  test.each([
    ["a missing one", { scale: undefined }, "missing-weight", /new.safetensors" for ".*": missing: "scale"$/],
    [
      "another dtype",
      { scale: f32([4], "int32") },
      "mismatch",
      /not the same: "scale" \(float32 \[4\] in ".*", int32 \[4\] in ".*"\)$/,
    ],
    [
      "another shape",
      { scale: f32([2, 2]) },
      "mismatch",
      /not the same: "scale" \(float32 \[4\] in ".*", float32 \[2, 2\] in ".*"\)$/,
    ],
    [
      "another size",
      { scale: f32([5]) },
      "mismatch",
      /"scale" \(float32 \[4\] in ".*", float32 \[5\] in ".*"\)$/,
    ],
    [
      "nibbles that do not fit",
      { nibbles: raw(4) },
      "mismatch",
      /"nibbles" \(int4 \[3, 3\] in ".*", uint8 \[4\] in ".*"\)$/,
    ],
  ])("refuses %s", async (_, changes, code, message) => {
    const tensors = Object.entries({ ...fitting, ...changes }).filter(([, tensor]) => tensor !== undefined);
    await writeFile(at("new.safetensors"), writeSafetensors(Object.fromEntries(tensors) as typeof fitting));
    const error = await thrown(attach(store, thin, at("full.mlir"), { from: at("new.safetensors") }));
    expect(error).toMatchObject({ code, tensor: Object.keys(changes)[0] });
    expect(error.message).toMatch(message);
  });

  test("lists every weight that is missing or does not fit", async () => {
    const { "layer.0.shift": shift, mask } = fitting;
    const tensors = { scale: f32([2, 2]), "layer.0.shift": shift, nibbles: raw(4) };
    await writeFile(at("new.safetensors"), writeSafetensors(tensors));
    const from = at("new.safetensors");
    const error = await thrown(attach(store, thin, at("full.mlir"), { from }));
    expect(error).toMatchObject({
      name: "WeightMismatchError",
      code: "missing-weight",
      path: thin,
      missing: ["mask"],
      mismatched: [{ name: "scale" }, { name: "nibbles" }],
    });
    expect(await thrown(listResources(store, thin, { from }))).toMatchObject({
      code: "mismatch",
      missing: [],
      mismatched: [{ name: "scale" }, { name: "nibbles" }],
    });
    // Bytecode has no types: only the recorded sizes are compared.
    await writeFile(at("sizes.safetensors"), writeSafetensors({ ...tensors, mask, large: f32([5]) }));
    const sizes = attach(store, mlirPath("lowered-thin-22.mlirbc"), at("full.mlirbc"), {
      from: at("sizes.safetensors"),
    });
    const claim = (bytes: number) => ({ dtype: "uint8", shape: [bytes] });
    expect(await thrown(sizes)).toMatchObject({
      missing: [],
      mismatched: [
        { name: "large", sides: [claim(16_640), claim(20)] },
        { name: "nibbles", sides: [claim(5), claim(4)] },
      ],
    });
  });

  test("gives globals that wait for one the weight of their name, and leaves the others", async () => {
    const line = "  ml_program.global private @";
    const of = (name: string): string =>
      `${line}${name}(#ml_program.extern<tensor<4xf32>>) : tensor<4xf32>\n`;
    await writeFile(at("globals.mlir"), `module {\n${of("scale")}${of("absent")}}\n`);
    await writeFile(at("new.safetensors"), writeSafetensors({ scale: f32([4]) }));
    const from = at("new.safetensors");
    expect(
      (await listResources(store, at("globals.mlir"), { from })).map(({ key, state }) => [key, state]),
    ).toEqual([
      ["scale", "found"],
      ["absent", "external"],
    ]);
    const { notes, weights } = await attach(store, at("globals.mlir"), at("full.mlir"), { from });
    expect(weights).toBe(1);
    expect(notes).toEqual(["1 external globals still have no value (absent)"]);
    expect(await readFile(at("full.mlir"), "utf8")).toMatch(
      /@scale\(dense_resource<scale> : tensor<4xf32>\) : .*\n.*@absent\(#ml_program.extern</,
    );
    await writeFile(at("odd.safetensors"), writeSafetensors({ scale: f32([5]) }));
    expect(
      await thrown(attach(store, at("globals.mlir"), at("x.mlir"), { from: at("odd.safetensors") })),
    ).toMatchObject({ code: "mismatch", tensor: "scale" });
  });

  test("checks sizes against types where the file was never detached", async () => {
    const program = '"a.b"() {v = dense_resource<w> : tensor<9xi4>} : () -> ()\n';
    await writeFile(at("plain.mlir"), program);
    for (const [length, fits] of [
      [9, true],
      [5, true],
      [1, true],
      [8, false],
      [10, false],
    ] as const) {
      await writeFile(at(`${length}.safetensors`), writeSafetensors({ w: raw(length) }));
      const attached = attach(store, at("plain.mlir"), at(`${length}.mlir`), {
        from: at(`${length}.safetensors`),
      });
      if (fits) expect(await attached).toMatchObject({ weights: 1, weightBytes: length });
      else expect(await thrown(attached)).toMatchObject({ code: "mismatch", tensor: "w" });
    }
  });
});

describe("detachInPlace()", () => {
  test.each(["base-22.mlirbc", "base.mlir"])("leaves the weights of %s where they are", async (name) => {
    await copyFile(mlirPath(name), at(`fat-${name}`));
    const result = await detachInPlace(at(`fat-${name}`), at(name));
    expect(result.thinBytes).toBeLessThan(3000);
    expect(result).not.toHaveProperty("added");
    expect(
      (await listResources(store, at(name))).map(({ key, state, bytes }) => [key, state, bytes]),
    ).toEqual([
      ["scale", "found", 16],
      ["mask", "found", 3],
      ["unused", "found", 16],
      ["layer.0.shift", "found", 16],
      ["nibbles", "found", 5],
      ["large", "found", 16_640],
    ]);
    await attach(store, at(name), at(`full-${name}`));
    await expectSame(at(`full-${name}`), name);
  });

  test("refuses a file that changed since, unless the weights were hashed and are the same", async () => {
    await copyFile(mlirPath("base-22.mlirbc"), at("fat.mlirbc"));
    await detachInPlace(at("fat.mlirbc"), at("plain.mlirbc"));
    await detachInPlace(at("fat.mlirbc"), at("hashed.mlirbc"), { hash: true });
    await utimes(at("fat.mlirbc"), 1, 1);
    expect(await thrown(attach(store, at("plain.mlirbc"), at("x.mlirbc")))).toMatchObject({
      code: "source-changed",
      path: at("fat.mlirbc"),
    });
    await attach(store, at("hashed.mlirbc"), at("full.mlirbc"));
    await expectSame(at("full.mlirbc"), "base-22.mlirbc");
    await writeFile(at("fat.mlirbc"), mlirBytes("base-22.mlirbc").fill(7, 9000, 9100));
    expect(await thrown(attach(store, at("hashed.mlirbc"), at("x.mlirbc")))).toMatchObject({
      code: "corrupted",
      tensor: "large",
    });
    // Nothing but MLIR that has the key is read, whatever a thin file names.
    await writeFile(at("fat.mlirbc"), "secret".repeat(4000));
    expect(await thrown(attach(store, at("hashed.mlirbc"), at("x.mlirbc")))).toMatchObject({
      code: "missing-weight",
      missing: { length: 6 },
    });
    await rename(at("fat.mlirbc"), at("moved.mlirbc"));
    expect(await thrown(attach(store, at("plain.mlirbc"), at("x.mlirbc")))).toMatchObject({
      code: "missing-weight",
    });
    await copyFile(mlirPath("base-22.mlirbc"), at("moved.mlirbc"));
    await attach(store, at("plain.mlirbc"), at("y.mlirbc"), { from: at("moved.mlirbc") });
    await expectSame(at("y.mlirbc"), "base-22.mlirbc");
  });
});

describe("a store", () => {
  test("adds, shows and verifies bytecode, and no engine runs it", async () => {
    await store.add([mlirPath("base-22.mlirbc")]);
    await store.add([mlirPath("lowered-22.mlirbc")]);
    const info = await describeModel(store, "base-22");
    expect(info).toMatchObject({ format: "mlir", engine: undefined, sharedBytes: 16_640 + 16 + 3 + 16 + 5 });
    expect((await store.verify({ full: true })).problems).toEqual([]);
    const error = await thrown(runtimeOf(store).load("base-22"));
    expect(error).toMatchObject({ code: "unsupported", hint: expect.stringContaining("tare detach") });
  });
});
