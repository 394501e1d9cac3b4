import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { run } from "../../../src/cli/run.ts";
import { externalize, type ExternalRule } from "../../../src/operations/executorch/externalize.ts";
import { internalize, type InternalRule } from "../../../src/operations/executorch/internalize.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { thrown } from "../../support/thrown.ts";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../../../fixtures/executorch/${name}`, import.meta.url));
const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/**
 * Digests of programs that ExecuTorch 1.5.1 itself ran, with the outputs of the same program with data files (or of the
 * one that was exported without): see fixtures/executorch/judge.py.
 */
const JUDGED: readonly (readonly [string, readonly string[], InternalRule[], string])[] = [
  [
    "first.pte",
    ["first-foundation.ptd", "first-adapter.ptd"],
    [],
    "2a0e4e1e4a6e0b100885c421cdc48b107ee4fca215029c5c94a3611edab1b3be",
  ],
  [
    "second.pte",
    ["second-foundation.ptd", "second-adapter.ptd"],
    [],
    "d42467a3ad99701260d5c2b36c4faa891e05a022bc83ac3ee13412b424b919a4",
  ],
  [
    "first.pte",
    ["first-foundation.ptd", "first-adapter.ptd"],
    [{ names: "*lora*" }],
    "758558c35765afcd1c0996e815f58009821f1d6ac9c5bd3bd4d1038d09c5a595",
  ],
  [
    "elsewhere.pte",
    ["elsewhere-all.ptd"],
    [],
    "b2ba124bf4e8484f3c0bb17a92eb6626dc54b31d76bd5ee0a1c11c7e7ebf50e7",
  ],
];

describe("internalize()", () => {
  test.each(JUDGED)(
    "writes of %s, with %j and rules %j, what ExecuTorch ran",
    async (name, data, only, digest) => {
      const out = join(await temporaryFolder(), "out.pte");
      const result = await internalize(fixture(name), data.map(fixture), out, { only });
      const bytes = await readFile(out);
      expect(result).toMatchObject({ path: out, size: bytes.length, named: [] });
      expect(sha(bytes)).toBe(digest);
    },
  );

  test.each<[string, ExternalRule[]]>([
    ["AddModel.pte", []],
    ["KeywordSpotting.pte", [{ file: "a", names: "constant 3*" }]],
    ["whole.pte", []],
    [
      "whole.pte",
      [
        { file: "a", names: "constant 2" },
        { file: "b", names: "constant 1" },
      ],
    ],
    ["half.pte", [{ file: "a", names: "constant 3" }]],
    ["counting.pte", []],
    ["channels-last.pte", []],
    ["delegated.pte", []],
    ["delegated.pte", [{ file: "a", names: "196b*" }]],
    ["together.pte", []],
  ])("gives %s back byte for byte, whatever rules %j moved out", async (name, rules) => {
    const folder = await temporaryFolder();
    const separate = join(folder, "separate");
    await externalize(fixture(name), separate, { rules });
    const out = join(folder, "out.pte");
    let told = { done: 0, total: 0 };
    const onProgress = (progress: typeof told): void => void (told = progress);
    const { size } = await internalize(separate, [], out, { onProgress });
    expect(told).toEqual({ done: size, total: size });
    expect((await readFile(out)).equals(await readFile(fixture(name)))).toBe(true);
  });

  test("finds the data file that is named as the program", async () => {
    const folder = await temporaryFolder();
    await copyFile(fixture("elsewhere.pte"), join(folder, "m.pte"));
    await copyFile(fixture("elsewhere-all.ptd"), join(folder, "m.ptd"));
    const { constants } = await internalize(join(folder, "m.pte"), [], join(folder, "out.pte"));
    expect(constants).toHaveLength(4);
  });

  const PARTS = ["first-foundation.ptd", "first-adapter.ptd"];
  test.each<[string, string, readonly string[], InternalRule[], string]>([
    ["a program with all inside", "whole.pte", [], [], "not-found"],
    ["a program whose data files are not given", "first.pte", [], [], "missing-weight"],
    ["a rule that selects nothing", "first.pte", PARTS, [{ names: "*" }, { names: "nothing*" }], "not-found"],
    ["a rule of layers that are not there", "first.pte", PARTS, [{ layers: [1, 2] }], "not-found"],
    ["a file that is not there", "first.pte", ["no.ptd"], [], "not-found"],
    ["a folder of several programs", "", [], [], "usage"],
  ])("refuses %s, and leaves nothing behind", async (_, name, data, only, code) => {
    const folder = await temporaryFolder();
    const writing = internalize(fixture(name), data.map(fixture), join(folder, "out.pte"), { only });
    expect(await thrown(writing)).toMatchObject({ code });
    expect(await readdir(folder)).toEqual([]);
  });

  test("does not write over anything, and needs a program in a folder", async () => {
    const folder = await temporaryFolder();
    const out = join(folder, "out.pte");
    await writeFile(out, "mine");
    expect(await thrown(internalize(fixture("first.pte"), PARTS.map(fixture), out))).toMatchObject({
      code: "exists",
    });
    expect(await readFile(out, "utf8")).toBe("mine");
    await mkdir(join(folder, "empty"));
    expect(await thrown(internalize(join(folder, "empty"), [], join(folder, "o")))).toMatchObject({
      code: "usage",
      message: expect.stringContaining("it has no program"),
    });
  });

  test("refuses data files that change meanwhile, and stops where it is told to", async () => {
    const folder = await temporaryFolder();
    for (const name of ["first.pte", ...PARTS]) await copyFile(fixture(name), join(folder, name));
    const out = join(folder, "out.pte");
    const data = PARTS.map((name) => join(folder, name));
    let changed = false;
    const onProgress = (): void => {
      if (!changed) appendFileSync(data[0] as string, "more");
      changed = true;
    };
    const program = join(folder, "first.pte");
    expect(await thrown(internalize(program, data, out, { onProgress }))).toMatchObject({
      code: "source-changed",
      path: data[0],
    });
    const signal = AbortSignal.abort();
    expect(await internalize(program, data, out, { signal }).catch((error: Error) => error.name)).toBe(
      "AbortError",
    );
    expect((await readdir(folder)).sort()).toEqual(["first.pte", ...PARTS].sort());
  });

  test("is a verb: names what it moved, and what is elsewhere still", async () => {
    const folder = await temporaryFolder();
    let text = "";
    const sink = new Writable({
      write(chunk, _encoding, done) {
        text += String(chunk);
        done();
      },
    });
    const tare = async (...argv: string[]): Promise<[number, string]> => {
      text = "";
      return [
        await run(argv, { stdout: sink, stderr: sink, env: { TARE_STORE: join(folder, "store") } }),
        text,
      ];
    };
    const [whole, part] = [join(folder, "whole.pte"), join(folder, "part.pte")];
    const files = ["first.pte", ...PARTS].map(fixture);
    expect(await tare("internalize", ...files, "--out", whole)).toEqual([
      0,
      `moved 3 constants and 0 entries of named data: 6.75 kB in ${whole}\n`,
    ]);
    const only = await tare("internalize", ...files, "--out", part, "--only", "lora_a*", "--only", "lora_b*");
    expect(only[1]).toContain("moved 2 constants");
    expect(only[1]).toContain("\nstill in data files: 1");
    await tare("add", whole);
    await tare("add", fixture("whole.pte"), "--as", "exported");
    const [, diff] = await tare("diff", "whole", "exported", "--json");
    expect(JSON.parse(diff)).toMatchObject({ changedBytes: 0 });
    const apart = ["apart.pte", "apart-foundation.ptd", "apart-adapter.ptd"].map(fixture);
    const [, json] = await tare("internalize", ...apart, "--out", join(folder, "t.pte"), "--json");
    expect(JSON.parse(json)).toMatchObject({ constants: [], named: { length: 4 }, external: [] });
    const [code, told] = await tare("internalize", fixture("whole.pte"), "--out", join(folder, "w.pte"));
    expect(code).toBe(1);
    expect(told).toContain("all its tensors are inside already");
    expect((await tare("internalize", fixture("whole.pte")))[0]).toBe(2);
  });
});
