import { copyFile, cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { writeNpz } from "../../src/formats/npy/npz.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { openModel } from "../../src/node/open-model.ts";
import { counting } from "../support/bytes.ts";
import { home } from "../support/home.ts";
import { temporaryFolder } from "../support/temporary.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures", import.meta.url));
const TRAINER = join(FIXTURES, "trainer-checkpoint");
const w = { dtype: "uint8", shape: [4], bytes: counting(4) } as const;

/** A folder of these files: copies of fixtures, or small ones. */
async function folderOf(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = join(await temporaryFolder(), "m");
  await mkdir(folder);
  for (const [name, content] of Object.entries(files)) {
    if (typeof content === "string") await copyFile(join(FIXTURES, content), join(folder, name));
    else await writeFile(join(folder, name), content);
  }
  return folder;
}

describe("a trainer's checkpoint", () => {
  const states = ["optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin"];

  test("is the model in it, and its state is left out and listed", async () => {
    const { store } = await home();
    const { notes, weights } = await store.add([TRAINER], { as: "tuned" });
    expect(weights).toBeGreaterThan(0);
    expect(notes).toEqual([
      `${states.map((name) => `"${name}"`).join(", ")} are left out: the state of a trainer`,
    ]);
    await using model = await openModel([TRAINER]);
    expect(model.draft.methods.map(({ name }) => name)).toEqual(["pytorch_model"]);
    expect(model.draft.files.map(({ path }) => path)).toEqual([
      "pytorch_model.bin",
      "config.json",
      "trainer_state.json",
    ]);
  });

  test("is the same with model.safetensors", async () => {
    const folder = join(await temporaryFolder(), "m");
    await cp(TRAINER, folder, { recursive: true });
    await rm(join(folder, "pytorch_model.bin"));
    await writeFile(join(folder, "model.safetensors"), writeSafetensors({ w }));
    await using model = await openModel([folder]);
    expect(model.draft.methods.map(({ name }) => name)).toEqual(["model"]);
    expect(model.draft.notes).toHaveLength(1);
  });

  test("is refused without a model, unless its file is named", async () => {
    const folder = join(await temporaryFolder(), "m");
    await cp(TRAINER, folder, { recursive: true });
    await rm(join(folder, "pytorch_model.bin"));
    await expect(openModel([folder])).rejects.toMatchObject({
      code: "unknown-format",
      hint: expect.stringContaining('"optimizer.pt" is the state of a trainer'),
    });
    await using state = await openModel([join(folder, "optimizer.pt")]);
    expect(state.draft.methods[0]?.weights.length).toBeGreaterThan(0);
    expect(await readdir(folder)).toContain("optimizer.pt");
  });
});

describe("a folder of several kinds of files", () => {
  const npz = writeNpz({ w });

  test.each<[string, Record<string, string | Uint8Array>]>([
    ["two quantizations", { "m-F16.gguf": "gguf/types.gguf", "m-Q8_0.gguf": "gguf/aligned.gguf" }],
    ["NumPy and PyTorch", { "a.npz": npz, "pytorch_model.bin": "pytorch/lone.pt" }],
    ["GGUF and NumPy", { "a.gguf": "gguf/types.gguf", "b.npz": npz }],
    ["GGUF and PyTorch", { "a.gguf": "gguf/types.gguf", "pytorch_model.bin": "pytorch/lone.pt" }],
    ["PyTorch under two endings", { "other.pt": "pytorch/lone.pt", "pytorch_model.bin": "pytorch/lone.pt" }],
  ])("is refused by name: %s", async (_, files) => {
    const error: unknown = await openModel([await folderOf(files)]).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "usage", hint: expect.stringContaining("tare add FOLDER/FILE") });
    for (const name of Object.keys(files)) expect((error as Error).message).toContain(`"${name}"`);
  });

  test("says which GGUF file is a projector", async () => {
    const files = { "m.gguf": "gguf/types.gguf", "mmproj-F16.gguf": "gguf/aligned.gguf" };
    await expect(openModel([await folderOf(files)])).rejects.toThrow('"mmproj-F16.gguf" (a projector)');
  });

  test("is the safetensors model, and what else it has is listed", async () => {
    const folder = await folderOf({
      "model.safetensors": writeSafetensors({ w }),
      "pytorch_model.bin": "pytorch/lone.pt",
    });
    await using model = await openModel([folder]);
    expect(model.draft.files.map(({ path }) => path)).toEqual(["model.safetensors"]);
    expect(model.draft.notes).toEqual(['"pytorch_model.bin" is left out: no part of the safetensors model']);
  });
});
