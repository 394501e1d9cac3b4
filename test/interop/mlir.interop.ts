import { execFile } from "node:child_process";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { mlirPath } from "../support/mlir.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { attach } from "../../src/operations/mlir/attach.ts";
import { detach } from "../../src/operations/mlir/detach.ts";

const PASSES = ["--canonicalize", "--cse", "--convert-arith-to-llvm"];
const MAX = { maxBuffer: 64 * 1024 * 1024 };

async function opt(llvm: string, folder: string, ...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(`mlir-opt-${llvm}`, args, { cwd: folder, ...MAX })).stdout;
}

/** A folder with the program as an LLVM writes it, and one for thin files of the same names: names are in the code. */
async function folders(): Promise<{ fat: string; thin: string; store: TareStore }> {
  const folder = await temporaryFolder();
  const [fat, thin] = [join(folder, "fat"), join(folder, "thin")];
  for (const each of [fat, thin]) await mkdir(each);
  await copyFile(mlirPath("base.mlir"), join(fat, "a.mlir"));
  return { fat, thin, store: await openStore({ path: join(folder, "store") }) };
}

async function expectSame(a: string, b: string): Promise<void> {
  expect((await readFile(a)).equals(await readFile(b))).toBe(true);
}

const LLVMS = ["19", "22"];
const CONTAINERS = [
  ["text", []],
  ["bytecode 4", ["--emit-bytecode", "--emit-bytecode-version=4"]],
  ["its own bytecode", ["--emit-bytecode"]],
] as const;

describe.each(LLVMS)("mlir-opt-%s over a thin file", (llvm) => {
  test.each(CONTAINERS)(
    "gives, with the weights attached, what it makes of the fat one: %s",
    async (_, emit) => {
      const { fat, thin, store } = await folders();
      await opt(llvm, fat, "a.mlir", ...emit, "-o", "x");
      await detach(store, join(fat, "x"), join(thin, "x"), { as: "x" });
      expect((await readFile(join(thin, "x"))).length).toBeLessThan(4096);
      for (const [out, ...how] of [["bc", "--emit-bytecode"], ["text"]] as const) {
        for (const folder of [fat, thin]) await opt(llvm, folder, "x", ...PASSES, ...how, "-o", out);
        expect(await attach(store, join(thin, out), join(thin, `${out}-full`))).toMatchObject({
          weights: 5,
          unused: ["unused"],
          notes: [],
        });
        await expectSame(join(thin, `${out}-full`), join(fat, out));
      }
    },
  );
});

describe.each(LLVMS)("mlir-opt-%s", (llvm) => {
  test("lowers globals that waited for a weight", async () => {
    const { thin, store } = await folders();
    const globals = ["scale", '"a/b"'].map(
      (name) => `  ml_program.global private @${name}(#ml_program.extern<tensor<4xf32>>) : tensor<4xf32>\n`,
    );
    await writeFile(join(thin, "g.mlir"), `module {\n${globals.join("")}}\n`);
    // As its own printer spells them, by an alias.
    await opt(llvm, thin, "g.mlir", "-o", "printed.mlir");
    expect(await readFile(join(thin, "printed.mlir"), "utf8")).toContain("(#extern)");
    const from = mlirPath("small-4.mlirbc");
    const { notes } = await attach(store, join(thin, "printed.mlir"), join(thin, "full.mlir"), { from });
    expect(notes).toEqual(["1 external globals still have no value (a/b)"]);
    const out = await opt(llvm, thin, "full.mlir", "--mlprogram-pipeline-globals");
    expect(out).toContain("@scale(dense_resource<scale> : tensor<4xf32>)");
    expect(out).toMatch(/scale: "0x04000000[0-9A-F]{32}"/);
  });
});

describe("mlir-opt-22 over what LLVM 19 wrote", () => {
  test.each([
    ["text", []],
    ["bytecode 4", ["--emit-bytecode", "--emit-bytecode-version=4"]],
  ])("gives the same from a thin file that went by %s", async (_, emit) => {
    const { fat, thin, store } = await folders();
    await opt("19", fat, "a.mlir", "--emit-bytecode", "-o", "own");
    await detach(store, join(fat, "own"), join(thin, "own"), { as: "x" });
    for (const folder of [fat, thin]) {
      await opt("19", folder, "own", ...emit, "-o", "x");
      await opt("22", folder, "x", ...PASSES, "--emit-bytecode", "-o", "lowered");
    }
    const { notes } = await attach(store, join(thin, "lowered"), join(thin, "full"));
    expect(notes).toEqual([expect.stringContaining("MLIR19.1.7 wrote the original in bytecode 6")]);
    await expectSame(join(thin, "full"), join(fat, "lowered"));
  });
});

describe("mlir-opt-22", () => {
  test("keeps keys that are no plain words", async () => {
    const { fat, thin, store } = await folders();
    const text = (await readFile(join(fat, "a.mlir"), "utf8")).replaceAll("layer.0.shift", '"a/b \\22c\\22"');
    await writeFile(join(fat, "a.mlir"), text);
    await detach(store, join(fat, "a.mlir"), join(thin, "a.mlir"), { as: "x" });
    for (const folder of [fat, thin]) {
      await opt("22", folder, "a.mlir", ...PASSES, "-o", "text");
      await opt("22", folder, "a.mlir", ...PASSES, "--emit-bytecode", "-o", "bc");
    }
    for (const name of ["text", "bc"]) {
      await attach(store, join(thin, name), join(thin, `${name}-full`));
      await expectSame(join(thin, `${name}-full`), join(fat, name));
    }
  });

  test("takes globals that wait for their weights through passes, and with them again", async () => {
    const { fat, thin, store } = await folders();
    const program = `module {
  ml_program.global private @w(dense_resource<w> : tensor<4xf32>) : tensor<4xf32>
  func.func @main() -> tensor<4xf32> {
    %0 = ml_program.global_load_const @w : tensor<4xf32>
    return %0 : tensor<4xf32>
  }
}
{-# dialect_resources: { builtin: { w: "0x040000000000803F000000400000404000008040" } } #-}
`;
    await writeFile(join(fat, "g.mlir"), program);
    for (const llvm of ["19", "22"] as const) {
      await detach(store, join(fat, "g.mlir"), join(thin, `g-${llvm}.mlir`), {
        extern: true,
        as: "g",
        replace: true,
      });
      await opt(llvm, thin, `g-${llvm}.mlir`, "--canonicalize", "--cse", "-o", `low-${llvm}`);
      await attach(store, join(thin, `low-${llvm}`), join(thin, `full-${llvm}`));
      const whole = await opt(llvm, fat, "g.mlir", "--canonicalize", "--cse");
      expect(await opt(llvm, thin, `full-${llvm}`)).toBe(whole);
    }
  });

  test("reads attached files of every size, whole pages too", async () => {
    const { thin, store } = await folders();
    await detach(store, mlirPath("base-22.mlirbc"), join(thin, "x"), { as: "x" });
    const notes: string[] = [];
    let more = 0;
    // A longer note moves the file's end: once the size is known, to a whole number of pages and around it.
    for (const step of ["first", -2, -1, 0, 1] as const) {
      const note = "n".repeat(step === "first" ? 0 : more + step);
      const program = `module attributes {t.note = "${note}"} {\n  %0 = arith.constant dense_resource<large> : tensor<64x65xf32>\n}\n`;
      await writeFile(join(thin, "p.mlir"), program);
      await opt("22", thin, "p.mlir", "--allow-unregistered-dialect", "--emit-bytecode", "-o", "p");
      const out = join(thin, `full-${step}`);
      const { bytes, notes: said } = await attach(store, join(thin, "p"), out, {
        from: mlirPath("base-22.mlirbc"),
      });
      if (step === "first") more = 4096 - (bytes % 4096);
      notes.push(...said);
      expect(bytes % 4096).not.toBe(0);
      expect(await opt("22", thin, out, "--allow-unregistered-dialect")).toMatch(/large: "0x40000000/);
    }
    expect(notes).toContainEqual(expect.stringMatching(/whole pages/));
  });
});
