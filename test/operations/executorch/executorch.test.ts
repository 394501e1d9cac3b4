import { copyFile, mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { run } from "../../../src/cli/run.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { openStore, type TareStore } from "../../../src/tare-store.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { link } from "../../../src/link/link-folder.ts";
import { runtimeOf } from "../../support/runtime.ts";
import { describeModel } from "../../../src/operations/describe.ts";
import { diff } from "../../../src/operations/diff/diff.ts";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/executorch/", import.meta.url));

interface Home {
  readonly store: TareStore;
  /** A folder for this test. */
  readonly folder: string;
}

async function home(): Promise<Home> {
  const folder = await temporaryFolder();
  const store = await openStore({ path: join(folder, "store") });
  return { store, folder };
}

/** A folder with some of the fixtures. */
async function folderOf({ folder }: Home, name: string, ...files: string[]): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  for (const file of files) await copyFile(join(FIXTURES, file), join(path, file));
  return path;
}

async function expectExport({ store, folder }: Home, model: string, original: string): Promise<void> {
  const { path } = await store.export(model, join(folder, `out-${model}`));
  const files = (await stat(path)).isDirectory() ? await readdir(path) : [""];
  if (files[0] !== "") expect(files.sort()).toEqual((await readdir(original)).sort());
  for (const file of files) {
    const [ours, theirs] = await Promise.all([path, original].map((root) => readFile(join(root, file))));
    expect((ours as Buffer).equals(theirs as Buffer)).toBe(true);
  }
}

async function tare(store: TareStore, ...argv: readonly string[]): Promise<{ code: number; text: string }> {
  let text = "";
  const sink = new Writable({
    write(chunk, _, done) {
      text += String(chunk);
      done();
    },
  });
  const code = await run(argv, { stdout: sink, stderr: sink, env: { TARE_STORE: store.path } });
  return { code, text };
}

describe("ExecuTorch models in a store", () => {
  test("come back byte for byte, whatever tool and time they are of", async () => {
    const here = await home();
    for (const file of (await readdir(FIXTURES)).filter((name) => /\.pt[ed]$/.test(name))) {
      const as = file.replace(".", "-");
      await here.store.add([join(FIXTURES, file)], { as });
      await expectExport(here, as, join(FIXTURES, file));
    }
    expect((await here.store.verify({ full: true })).problems).toEqual([]);
  });

  test("share weights by their bytes: program, data file, backend's data and safetensors", async () => {
    const here = await home();
    const { store, folder } = here;
    await store.add([join(FIXTURES, "whole.pte")]);
    const parts = ["first.pte", "first-foundation.ptd", "first-adapter.ptd"];
    const separate = await folderOf(here, "separate", ...parts);
    await store.add([separate]);
    await store.add([join(FIXTURES, "delegated.pte")]);
    const foundation = await readFile(join(FIXTURES, "first-foundation.ptd"));
    const weight = new Uint8Array(foundation.subarray(256));
    const tensors = { w: { dtype: "float32", shape: [24, 32], bytes: weight } } as const;
    await writeFile(join(folder, "st.safetensors"), writeSafetensors(tensors));
    await store.add([join(folder, "st.safetensors")]);

    const { methods } = await describeModel(store, "st");
    expect(methods[0]?.weights[0]?.sharedWith).toEqual(["delegated", "separate", "whole"]);
    const models = Object.fromEntries((await store.list()).map((each) => [each.name, each]));
    expect(models.separate).toMatchObject({ ownBytes: 0, sharedBytes: 3072 + 96 + 512 + 384 });
    expect(models.whole).toMatchObject({ ownBytes: 0 });
    expect(models.delegated).toMatchObject({ sharedBytes: 3072 + 96 + 512 + 384 });
    await expectExport(here, "separate", separate);
    expect(await diff(store, "whole", "separate")).toMatchObject({ changedBytes: 0 });
  });

  test("of one foundation differ in their adapters only", async () => {
    const here = await home();
    for (const name of ["first", "second"]) {
      const files = [`${name}.pte`, `${name}-foundation.ptd`, `${name}-adapter.ptd`];
      await here.store.add([await folderOf(here, name, ...files)]);
    }
    const found = await diff(here.store, "first", "second");
    const changed = found.changed.filter(({ method }) => method === "forward");
    expect(changed.map(({ name }) => name).sort()).toEqual(["lora_a.weight", "lora_b.weight"]);
    expect(changed[0]?.difference).toBeDefined();
    expect(found.changedBytes).toBe(512 + 384);
  });

  test("of several programs in one folder store the data that they share once", async () => {
    const here = await home();
    const { store } = here;
    const parts = ["first.pte", "first-adapter.ptd", "second.pte", "second-adapter.ptd"];
    const path = await folderOf(here, "picture", ...parts);
    await copyFile(join(FIXTURES, "first-foundation.ptd"), join(path, "shared.ptd"));
    await store.add([path]);
    const { methods } = await describeModel(store, "picture");
    expect(methods.map(({ name }) => name)).toEqual([
      "first-adapter",
      "first/forward",
      "second-adapter",
      "second/forward",
      "shared",
    ]);
    const digestsOf = (name: string): (string | undefined)[] =>
      methods.find((each) => each.name === name)?.weights.map(({ digest }) => digest) ?? [];
    const [foundation] = digestsOf("shared");
    for (const name of ["first", "second"]) {
      expect(digestsOf(`${name}/forward`)).toEqual([
        foundation,
        expect.anything(),
        ...digestsOf(`${name}-adapter`),
      ]);
    }
    expect(digestsOf("first-adapter")).not.toEqual(digestsOf("second-adapter"));
    const told = methods.find(({ name }) => name === "second/forward")?.executorch?.sharedMethods;
    expect(told).toEqual([
      { name: "first/forward", bytes: 3072 + 96 },
      { name: "second-adapter", bytes: 512 + 384 },
      { name: "shared", bytes: 3072 },
    ]);
    const [model] = await store.list();
    expect(model).toMatchObject({ ownBytes: 3072 + 96 + 2 * (512 + 384) });
    await expectExport(here, "picture", path);

    // Given one by one, the foundation is shared between the two models.
    for (const name of ["first", "second"]) {
      const files = [`${name}.pte`, `${name}-adapter.ptd`, "shared.ptd"].map((file) => join(path, file));
      await store.add(files, { as: name });
    }
    await store.remove(["picture"]);
    const models = Object.fromEntries((await store.list()).map((each) => [each.name, each]));
    expect(models.first).toMatchObject({ sharedBytes: 3072 + 96, ownBytes: 512 + 384 });
    expect(models.second).toMatchObject({ sharedBytes: 3072 + 96, ownBytes: 512 + 384 });
    await rename(join(path, "first-adapter.ptd"), join(path, "other-adapter.ptd"));
    await rename(join(path, "second-adapter.ptd"), join(path, "third-adapter.ptd"));
    await expect(store.add([path], { as: "unclear" })).rejects.toMatchObject({
      code: "duplicate",
      tensor: "lora_a.weight",
      message: expect.stringMatching(/other-adapter\.ptd" and ".*third-adapter\.ptd" both have it/),
    });
  });

  test("are shown with their methods, delegates and what these share", async () => {
    const { store } = await home();
    await store.add([join(FIXTURES, "delegated.pte")]);
    const { methods, engine } = await describeModel(store, "delegated");
    expect(engine).toBeUndefined();
    expect(methods).toMatchObject([
      {
        name: "forward",
        signature: {
          inputs: [{ name: "input 0", dtype: "float32", shape: [1, 32] }],
          outputs: [{ name: "output 0", dtype: "float32", shape: [1, 24] }],
        },
        executorch: {
          delegates: [{ backend: "XnnpackBackend", weight: "delegate 0", bytes: 1360, methods: [] }],
          sharedMethods: [{ name: "wide", bytes: 4064 }],
        },
      },
      { name: "wide", executorch: { sharedMethods: [{ name: "forward", bytes: 4064 }] } },
    ]);
    const { code, text } = await tare(store, "show", "delegated", "--method", "wide");
    expect(code).toBe(0);
    expect(text).toContain("delegates  delegate 0: XnnpackBackend, 1.36 kB");
    expect(text).toContain("shares     4.06 kB with forward");
    expect(text).toContain("ExecuTorch's runtime");
  });

  test("say what they take from a data file that was not given", async () => {
    const { store } = await home();
    const { code, text } = await tare(store, "add", join(FIXTURES, "first.pte"));
    expect(code).toBe(0);
    expect(text).toContain('note: Method "forward" takes "linear.weight" and 2 more from a data file');
  });

  test("are not run or linked, and say what does that", async () => {
    const { store } = await home();
    await store.add([join(FIXTURES, "whole.pte")]);
    const ran = await tare(store, "run", "whole");
    expect(ran.code).toBe(1);
    expect(ran.text).toContain("tare has no engine for ExecuTorch programs");
    await expect(runtimeOf(store).load("whole")).rejects.toMatchObject({
      code: "unsupported",
      hint: expect.stringContaining("tare export whole"),
    });
    await expect(link(store, "whole", "nowhere")).rejects.toMatchObject({ code: "unsupported" });
  });
});
