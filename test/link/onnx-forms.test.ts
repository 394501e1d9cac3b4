import { readdirSync } from "node:fs";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { openStore, type TareStore } from "../../src/tare-store.ts";
import { floats, graph, model, node, tensor, value } from "../support/onnx-builder.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { runtimeOf } from "../support/runtime.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { diff } from "../../src/operations/diff/diff.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures/onnx/", import.meta.url));

async function emptyStore(): Promise<TareStore> {
  return openStore({ path: join(await temporaryFolder(), "store") });
}

describe("files that the onnx package wrote", () => {
  const files = readdirSync(FIXTURES).filter((name) => name.endsWith(".onnx"));

  test.each(files)("%s comes back byte for byte, external data included", async (name) => {
    const store = await emptyStore();
    await store.add([join(FIXTURES, name)], { as: "model" });
    const { path, files: written } = await store.export("model", join(await temporaryFolder(), "out"));
    const names = (await describeModel(store, "model")).files.map((file) => file.path);
    for (const file of names) {
      const ours = await readFile(written.length === 1 ? path : join(path, file));
      expect(ours.equals(await readFile(join(FIXTURES, file)))).toBe(true);
    }
  });
});

/** y = x + w, with `w` stored in whatever way. */
function addModel(initializer: Uint8Array): Uint8Array {
  return model({
    graph: graph({
      nodes: [node("Add", ["x", "w"], ["y"])],
      initializers: [initializer],
      inputs: [value("x", "float32", [4])],
      outputs: [value("y", "float32", [4])],
    }),
  });
}

describe("TareStore.add()", () => {
  test("shares a weight between spellings of it", async () => {
    const store = await emptyStore();
    const folder = await temporaryFolder();
    const values = [1, -2, 300, -70_000];
    const raw = new Uint8Array(Int32Array.from(values).buffer);
    await writeFile(join(folder, "raw.onnx"), addModel(tensor("w", "int32", [4], { raw })));
    await writeFile(join(folder, "typed.onnx"), addModel(tensor("w", "int32", [4], { packed: [...values] })));
    for (const name of ["raw", "typed"]) await store.add([join(folder, `${name}.onnx`)]);
    expect((await diff(store, "raw", "typed")).changed).toEqual([]);
    const out = await store.export("typed", join(folder, "out.onnx"));
    expect((await readFile(out.path)).equals(await readFile(join(folder, "typed.onnx")))).toBe(true);
  });

  test("refuses a varint that would not come back the same, and names the file", async () => {
    const folder = await temporaryFolder();
    const bytes = addModel(tensor("w", "int32", [4], { packed: [1, 2, 3, 100] }));
    // The last varint becomes two bytes long, as no writer would spell it: 4 elements in 5 bytes.
    const at = Buffer.from(bytes).indexOf(Buffer.from([1, 2, 3, 100]));
    const odd = Buffer.from(bytes);
    odd[at + 2] = 0x83;
    odd[at + 3] = 0x00;
    await writeFile(join(folder, "odd.onnx"), odd);
    const adding = (await emptyStore()).add([join(folder, "odd.onnx")]);
    await expect(adding).rejects.toMatchObject({
      code: "malformed",
      path: join(folder, "odd.onnx"),
      offset: at + 3,
    });
  });

  test("refuses typed data with too few elements, and names the tensor", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "few.onnx"), addModel(tensor("w", "int32", [4], { packed: [1, 2, 300] })));
    const adding = (await emptyStore()).add([join(folder, "few.onnx")]);
    await expect(adding).rejects.toMatchObject({
      code: "size-mismatch",
      tensor: "w",
      offset: expect.any(Number),
    });
  });

  test.each([
    ["../secret.bin", "unsafe-path"],
    ["/etc/hostname", "unsafe-path"],
    ["link.bin", "unsafe-path"],
    ["absent.bin", "not-found"],
    ["short.bin", "size-mismatch"],
  ])("refuses external data in %s", async (location, code) => {
    const root = await temporaryFolder();
    const folder = join(root, "model");
    await mkdir(folder);
    await writeFile(join(root, "secret.bin"), Buffer.alloc(16));
    await symlink(join(root, "secret.bin"), join(folder, "link.bin"));
    await writeFile(join(folder, "short.bin"), Buffer.alloc(15));
    const external = { external: { location } };
    await writeFile(join(folder, "m.onnx"), addModel(tensor("w", "float32", [4], external)));
    const store = await emptyStore();
    await expect(store.add([folder])).rejects.toMatchObject({ code });
    expect(await readdir(join(store.path, "blobs", "sha256"))).toEqual([]);
  });

  test("keeps bytes of a data file that no tensor uses", async () => {
    const folder = await temporaryFolder();
    const data = Buffer.concat([
      Buffer.from("head"),
      Buffer.from(new Float32Array([1, 2, 3, 4]).buffer),
      Buffer.from("tail"),
    ]);
    await writeFile(join(folder, "w.bin"), data);
    const external = { external: { location: "w.bin", offset: 4, length: 16 } };
    await writeFile(join(folder, "m.onnx"), addModel(tensor("w", "float32", [4], external)));
    const store = await emptyStore();
    await store.add([join(folder, "m.onnx")]);
    const { path } = await store.export("m", join(folder, "out"));
    expect((await readFile(join(path, "w.bin"))).equals(data)).toBe(true);
  });

  test("keeps a constant of another file with the program, for the engine too", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "shape.bin"), Buffer.from(new BigInt64Array([2n, 2n]).buffer));
    const external = { external: { location: "shape.bin" } };
    const bytes = model({
      graph: graph({
        nodes: [node("Reshape", ["x", "shape"], ["h"]), node("Add", ["h", "w"], ["y"])],
        initializers: [
          tensor("shape", "int64", [2], external),
          tensor("w", "float32", [2, 2], floats(1, 2, 3, 4)),
        ],
        inputs: [value("x", "float32", [4])],
        outputs: [value("y", "float32", [2, 2])],
      }),
    });
    await writeFile(join(folder, "m.onnx"), bytes);
    const store = await emptyStore();
    await store.add([join(folder, "m.onnx")]);
    expect((await describeModel(store, "m")).methods[0]?.weights.map((weight) => weight.name)).toEqual(["w"]);
    await using session = await runtimeOf(store).load("m");
    const x = {
      dtype: "float32",
      shape: [4],
      bytes: new Uint8Array(new Float32Array([10, 20, 30, 40]).buffer),
    } as const;
    const { y } = await session.run({ x });
    expect(y).toMatchObject({ shape: [2, 2] });
    expect([...new Float32Array((y as { bytes: Uint8Array }).bytes.slice().buffer)]).toEqual([
      11, 22, 33, 44,
    ]);
  });
});
