import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { charlmGguf } from "../../fixtures/charlm/rebuild-gguf.mjs";
import type { NamedData } from "../../src/compile/named-data/named-data.ts";
import { parseSafetensors } from "../../src/formats/safetensors/parse.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { convertWeights } from "../../src/host/convert/convert.ts";
import { parseRenameRule, renamed } from "../../src/host/convert/rename.ts";
import { openModelData } from "../../src/host/model-data.ts";
import { home } from "../support/home.ts";
import { temporaryFolder } from "../support/temporary.ts";

const BASE = fileURLToPath(new URL("../../fixtures/charlm/base.safetensors", import.meta.url));
const CONTAINERS = ["safetensors", "gguf", "irpa", "params", "ptd"] as const;

/** Every weight's type, shape and sha256. */
async function described(data: NamedData): Promise<Record<string, unknown>> {
  const all: [string, unknown][] = [];
  for (const key of [...data.keys()].sort()) {
    const hash = createHash("sha256");
    for await (const chunk of data.stream(key)) hash.update(chunk);
    const { dtype, shape } = data.layout(key) ?? {};
    all.push([key, { dtype, shape, sha256: hash.digest("hex") }]);
  }
  return Object.fromEntries(all);
}

async function describedFile(path: string): Promise<Record<string, unknown>> {
  await using data = await openModelData([path]);
  return await described(data);
}

describe("convertWeights()", () => {
  test("keeps every weight exactly, from container to container and back", async () => {
    const folder = await temporaryFolder();
    const expected = await describedFile(BASE);
    let last = BASE;
    for (const kind of [...CONTAINERS, "safetensors"]) {
      const path = join(
        folder,
        `${CONTAINERS.indexOf(kind as "gguf")}-${(await readdir(folder)).length}.${kind}`,
      );
      await using data = await openModelData([last]);
      const { weights } = await convertWeights(data, path);
      expect(weights).toBe(Object.keys(expected).length);
      expect(await describedFile(path), kind).toEqual(expected);
      last = path;
    }
    const tensors = parseSafetensors(new Uint8Array(await readFile(BASE)), "base");
    expect((await readFile(last)).equals(Buffer.from(writeSafetensors(tensors)))).toBe(true);
  });

  test("takes models of a store, and says how far it is", async () => {
    const { store, folder } = await home();
    await store.add([await charlmGguf("kjv")], { as: "kjv" });
    const path = join(folder, "kjv.irpa");
    const told: number[] = [];
    const { size } = await convertWeights(await store.namedData("kjv"), path, {
      onProgress: ({ done, total }) => told.push(done / total),
    });
    expect(told.at(-1)).toBe(1);
    expect((await readFile(path)).byteLength).toBe(size);
    expect(await describedFile(path)).toEqual(await describedFile(await charlmGguf("kjv")));
  });

  test("refuses by name what a container cannot hold, and leaves nothing", async () => {
    const folder = await temporaryFolder();
    const from = join(folder, "x.safetensors");
    await writeFile(
      from,
      writeSafetensors({ ok: one("float32", 4), odd: one("complex64", 8), f8: one("float8_e4m3fn", 1) }),
    );
    await using data = await openModelData([from]);
    await expect(convertWeights(data, join(folder, "out.gguf"))).rejects.toMatchObject({
      code: "unsupported",
      tensor: expect.stringMatching(/odd|f8/),
    });
    await expect(convertWeights(data, join(folder, "out.bin"))).rejects.toMatchObject({ code: "usage" });
    await expect(convertWeights(data, from)).rejects.toMatchObject({ code: "exists" });
    const clash = [parseRenameRule("*=same")];
    await expect(convertWeights(data, join(folder, "o.irpa"), { rename: clash })).rejects.toMatchObject({
      code: "duplicate",
    });
    await expect(
      convertWeights(data, join(folder, "o.irpa"), { signal: AbortSignal.abort() }),
    ).rejects.toThrow();
    expect(await readdir(folder)).toEqual(["x.safetensors"]);
  });
});

describe("renamed()", () => {
  test.each([
    ["model.*=*", "model.a.b", "a.b"],
    ["model.*=*", "a.model.b", "a.model.b"],
    ["*.attn.*.weight=blk.*.attn_*.weight", "3.attn.q.weight", "blk.3.attn_q.weight"],
    ["a=b", "a", "b"],
    ["a=b", "aa", "aa"],
    ["*=x.*", "", "x."],
    ["a*a=*", "aa", ""],
    ["a*a=*", "a", "a"],
  ])("by %s makes %j %j", (rule, name, expected) => {
    expect(renamed(name, [parseRenameRule(rule)])).toBe(expected);
  });

  test.each(["", "a", "=b", "a=", "a=*"])("refuses the rule %j", (rule) => {
    expect(() => parseRenameRule(rule)).toThrow(expect.objectContaining({ code: "usage" }));
  });
});

function one(dtype: "float32" | "complex64" | "float8_e4m3fn", bytes: number) {
  return { dtype, shape: [1], bytes: new Uint8Array(bytes).fill(1) } as const;
}
