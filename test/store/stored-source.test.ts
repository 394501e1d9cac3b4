import fc from "fast-check";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import { openStore } from "../../src/tare-store.ts";
import { storedSource } from "../../src/store/stored-source.ts";
import { graph, ints, model, node, tensor, value } from "../support/onnx-builder.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { LocalStore } from "../../src/local-store/local-store.ts";
import { readModel } from "../../src/store/read-model.ts";

/** A model with weights of every kind: raw, and spelled as varints of one to three bytes. */
function spelled(): Uint8Array {
  const numbers = Array.from({ length: 9000 }, (_, at) => (at * 7919) % 40_000);
  const initializers = [
    tensor("raw", "int64", [70], ints(...numbers.slice(0, 70))),
    tensor("varint", "float16", [9000], { packed: numbers, field: "int32" }),
    tensor("more", "float16", [100], { packed: numbers.slice(0, 100), field: "int32" }),
  ];
  const nodes = ["raw", "varint", "more"].map((name) => node("Identity", [name], [`${name}-out`]));
  return model({ graph: graph({ nodes, initializers, outputs: [value("raw-out", "int64")] }) });
}

describe("storedSource()", () => {
  test.each(["spelled.onnx", "base.gguf"])("reads any range of %s as the file has it", async (name) => {
    const folder = await temporaryFolder();
    const path = join(folder, name);
    if (name === "base.gguf") await copyFile(await charlmGguf("base"), path);
    else await writeFile(path, spelled());
    {
      const store = await openStore({ path: join(folder, "store") });
      await store.add([path], { as: "m" });
    }
    const original = await readFile(path);
    const files = await LocalStore.open(join(folder, "store"));
    const stored = await readModel(files, "m");
    const [file] = stored.config.files;
    if (!file) throw new Error("no file");
    await using source = storedSource(files, stored, file);
    expect(source.size).toBe(original.byteLength);
    const whole = await source.read(0, source.size);
    expect(Buffer.compare(whole, original)).toBe(0);
    await fc.assert(
      fc.asyncProperty(fc.nat(source.size), fc.nat(70_000), async (offset, most) => {
        const length = Math.min(most, source.size - offset);
        const bytes = await source.read(offset, length);
        expect(Buffer.compare(bytes, original.subarray(offset, offset + length))).toBe(0);
      }),
      { numRuns: 60 },
    );
    await expect(source.read(1, source.size)).rejects.toMatchObject({ code: "out-of-range" });
  });
});
