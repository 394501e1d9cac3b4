import { createHash } from "node:crypto";
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../../src/io/byte-source.ts";
import { run } from "../../../src/cli/run.ts";
import { readExecutorch, readProgram } from "../../../src/formats/executorch/read.ts";
import { externalize, type ExternalRule } from "../../../src/operations/executorch/externalize.ts";
import type { ModelDraft } from "../../../src/model/draft.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { thrown } from "../../support/thrown.ts";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../../../fixtures/executorch/${name}`, import.meta.url));
const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function separate(name: string, ...rules: ExternalRule[]): Promise<string> {
  const out = join(await temporaryFolder(), "out");
  const result = await externalize(fixture(name), out, { rules });
  expect(result.path).toBe(out);
  expect(result.files.map(({ path }) => path).sort()).toEqual((await readdir(out)).sort());
  for (const { path, size } of result.files) expect((await readFile(join(out, path))).length).toBe(size);
  return out;
}

async function read(folder: string, names: readonly string[]): Promise<ModelDraft> {
  const files = await Promise.all(
    names.map(async (path) => ({ path, source: memorySource(await readFile(join(folder, path)), path) })),
  );
  return readExecutorch(files, { open: async () => undefined });
}

/** What each method's weights are: layout and digest, by name. */
async function contents(draft: ModelDraft): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const method of draft.methods.filter(({ file }) => file === 0)) {
    for (const { name, dtype, shape, at } of method.weights) {
      const bytes = await draft.files[at.file]?.source.read(at.offset, at.length);
      found[`${method.name}/${name}`] = `${dtype} ${shape.join()} ${sha(bytes as Uint8Array)}`;
    }
  }
  return found;
}

/**
 * Digests of programs and data files that ExecuTorch 1.5.1 itself ran, with the outputs of the program as it was:
 * see fixtures/executorch/judge.py.
 */
const JUDGED: readonly (readonly [string, ExternalRule[], Record<string, string>])[] = [
  [
    "AddModel.pte",
    [],
    {
      "AddModel.ptd": "2b035521a799caf692e9124bf59cfdfec7ee89a59f178ca411f8ac2c9ddbfc67",
      "AddModel.pte": "a30d7582c83866c7f1ae2b13d1cf05b1578f1855cfce5a77a7d5cf856d1cb840",
    },
  ],
  [
    "whole.pte",
    [],
    {
      "whole.ptd": "eff7cd13a2fa3b53698b0848e9ba8116b58f179dff3aac212fff85aeb41ff2c1",
      "whole.pte": "24b5dd5e1c767f02dc6925ad7a3728a19d99164720c9d15d3cde3298cded1e5e",
    },
  ],
  [
    "whole.pte",
    [{ file: "data", names: "constant 3" }],
    {
      "data.ptd": "8e00011a1e02d1f310ddb0403bd171d4b6817cc31fe90a9c3e25c9c571ff7e2d",
      "whole.pte": "a54a95f362164cc55c9d7ac41a61a658cf4277042af7cc986ba4b181cc6f4118",
    },
  ],
  [
    "half.pte",
    [{ file: "data", names: "constant 2" }],
    {
      "data.ptd": "7b10b75366c0422d0e88accdc13f840a5b6d09564863b5c8f88c801fb913ee13",
      "half.pte": "1b71767d3fe4eee0d37208e6033f648d4772a10f84f9c6d1731358460c4d6b0f",
    },
  ],
  [
    "counting.pte",
    [],
    {
      "counting.ptd": "74740b03126527c44dcf6a1ba82d7b24ffaaadead98e4f43b8823c6f830bc239",
      "counting.pte": "d26a17fc70f57e271d61153ff050ed848e489e795a87853f5d4b1565ba5dda28",
    },
  ],
  [
    "channels-last.pte",
    [],
    {
      "channels-last.ptd": "29821f077fcdcefa81e02b59e1cad10c49ceea83332315ddfc0cb99b38c09794",
      "channels-last.pte": "7261fed600f10418b00fa291e929f6b13dec1793e00705a1024eaaf3adb02b28",
    },
  ],
  [
    "delegated.pte",
    [],
    {
      "delegated.ptd": "5d7b279a46c613a9a83c4386d28d4ba0082849f2783f148a4eafec22ee97d66a",
      "delegated.pte": "3d120f33cdcc9679d2b458540483736f0b75d79ed52c04b357e2c48a7874a2f1",
    },
  ],
  [
    "delegated.pte",
    [{ file: "data", names: "9ebd*" }],
    {
      "data.ptd": "53e5e7433fc33a6403b8415066f629b0cd88952d14290179db307ff00b95f3c7",
      "delegated.pte": "a09ac04f90ae5495cfb177f8cf807691e991defcf4dc7f3e8b5091f587381fd2",
    },
  ],
];

describe("externalize()", () => {
  test.each(JUDGED)("writes of %s, with rules %j, what ExecuTorch ran", async (name, rules, files) => {
    const out = await separate(name, ...rules);
    const written = (await readdir(out)).map(async (file): Promise<[string, string]> => {
      return [file, sha(await readFile(join(out, file)))];
    });
    expect(Object.fromEntries(await Promise.all(written))).toEqual(files);
  });

  test.each(["whole.pte", "half.pte", "counting.pte", "channels-last.pte"])(
    "leaves every weight of %s what it was",
    async (name) => {
      const before = await contents(await read(fixture(""), [name]));
      const out = await separate(name);
      const data = name.replace(".pte", ".ptd");
      const draft = await read(out, [name, data]);
      expect(await contents(draft)).toEqual(before);
      const { plans } = await readProgram(memorySource(await readFile(join(out, name)), name));
      expect(
        plans.flatMap(({ tensors }) => tensors).filter((each) => !each.external && !each.mutable),
      ).toEqual([]);
      expect((await readFile(join(out, name))).length).toBeLessThan((await readFile(fixture(name))).length);
    },
  );

  test("moves the named data that a rule selects, and leaves the rest and the delegates", async () => {
    const [adapter, foundation] = [/^0c0d/, /^9ebd/];
    const out = await separate("delegated.pte", { file: "a", names: "0c0d*" }, { file: "f", names: "9ebd*" });
    const program = await readProgram(memorySource(await readFile(join(out, "delegated.pte")), "p"));
    const whole = await readProgram(memorySource(await readFile(fixture("delegated.pte")), "p"));
    const stays = (key: string): boolean => !adapter.test(key) && !foundation.test(key);
    expect(program.named.map(({ key }) => key)).toEqual(whole.named.map(({ key }) => key).filter(stays));
    const before = await contents(await read(fixture(""), ["delegated.pte"]));
    const after = await contents(await read(out, ["delegated.pte"]));
    expect(after).toEqual(
      Object.fromEntries(Object.entries(before).filter(([name]) => stays(name.split("/")[1] as string))),
    );
    const data = await read(out, ["a.ptd", "f.ptd"]);
    const keys = data.methods.map(({ weights }) => weights.map(({ name }) => name));
    expect(keys).toEqual([[expect.stringMatching(adapter)], [expect.stringMatching(foundation)]]);
  });

  test("keeps in the program what no rule selects", async () => {
    const out = await separate("whole.pte", { file: "one", names: "constant 1" });
    const draft = await read(out, ["whole.pte", "one.ptd"]);
    expect(draft.methods[0]?.weights.map(({ name, at }) => [name, at.file])).toEqual([
      ["constant 1", 1],
      ["constant 2", 0],
      ["constant 3", 0],
      ["constant 4", 0],
    ]);
    expect(await contents(draft)).toEqual(await contents(await read(fixture(""), ["whole.pte"])));
  });

  test.each<[string, string, ExternalRule[], string]>([
    ["constants in the tables", "ModuleLinear-no-constant-segment.pte", [], "unsupported"],
    ["a rule that selects nothing", "whole.pte", [{ file: "x", names: "nothing*" }], "not-found"],
    ["a file elsewhere", "whole.pte", [{ file: "../x" }], "usage"],
    ["a data file", "one.ptd", [], "unknown-format"],
  ])("refuses %s, and leaves nothing behind", async (_, name, rules, code) => {
    const folder = await temporaryFolder();
    expect(await thrown(externalize(fixture(name), join(folder, "out"), { rules }))).toMatchObject({ code });
    expect(await readdir(folder)).toEqual([]);
  });

  test("does not write over anything", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "mine"), "");
    expect(await thrown(externalize(fixture("whole.pte"), folder))).toMatchObject({ code: "exists" });
    expect(await readdir(folder)).toEqual(["mine"]);
  });

  test("is a verb, and its files are one model again", async () => {
    const folder = await temporaryFolder();
    const env = { TARE_STORE: join(folder, "store") };
    let text = "";
    const sink = new Writable({
      write(chunk, _encoding, done) {
        text += String(chunk);
        done();
      },
    });
    const tare = (...argv: string[]): Promise<number> => run(argv, { stdout: sink, stderr: sink, env });
    await copyFile(fixture("whole.pte"), join(folder, "m.pte"));
    const out = join(folder, "out");
    const rules = ["--rule", "base=constant 1", "--rule", "rest=*"];
    expect(await tare("externalize", join(folder, "m.pte"), "--out", out, ...rules)).toBe(0);
    expect(text).toMatch(/m\.pte .*\nbase\.ptd +1 .*\nrest\.ptd +3 /);
    expect(await tare("add", join(folder, "m.pte"), out)).toBe(0);
    text = "";
    expect(await tare("diff", "m", "out", "--json")).toBe(0);
    expect(JSON.parse(text)).toMatchObject({ changedBytes: 0, same: { count: 4 } });
    expect(await tare("externalize", join(folder, "m.pte"), "--out", join(folder, "o2"), "--rule", "x")).toBe(
      2,
    );
  });
});
