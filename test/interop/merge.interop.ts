import { execFile } from "node:child_process";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { openStore } from "../../src/tare-store.ts";
import { float32Bytes, writePeftLora } from "../support/lora-models.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { describeModel } from "../../src/operations/describe.ts";
import { merge } from "../../src/operations/merge.ts";

const PYTHON = fileURLToPath(new URL("../../build/interop/venv/bin/python", import.meta.url));
const SCRIPT = fileURLToPath(new URL("merge_lora.py", import.meta.url));
const fixture = (path: string): string =>
  fileURLToPath(new URL(`../../fixtures/charlm/${path}`, import.meta.url));

describe("a merge", () => {
  test("of two LoRAs is what NumPy makes of them, bit for bit", async () => {
    const folder = await temporaryFolder();
    const fortune = join(folder, "fortune");
    await mkdir(fortune);
    for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
      await copyFile(fixture(`fortune-lora/${name}`), join(fortune, name));
    }
    const numbers = (count: number, step: number): Uint8Array =>
      float32Bytes(Array.from({ length: count }, (_, at) => Math.sin(at * step) / 10));
    const pair = {
      "base_model.model.blk.2.attn_k.lora_A.weight": { shape: [5, 192], bytes: numbers(5 * 192, 0.7) },
      "base_model.model.blk.2.attn_k.lora_B.weight": { shape: [96, 5], bytes: numbers(96 * 5, 1.3) },
      "base_model.model.blk.0.ffn_up.lora_A.weight": { shape: [5, 192], bytes: numbers(5 * 192, 0.3) },
      "base_model.model.blk.0.ffn_up.lora_B.weight": { shape: [512, 5], bytes: numbers(512 * 5, 2.1) },
    };
    const waves = await writePeftLora(join(folder, "waves"), pair, { r: 5, lora_alpha: 3, use_rslora: true });

    const store = await openStore({ path: join(folder, "store") });
    await store.add([fixture("base.safetensors")], { as: "base" });
    await store.add([fortune]);
    await store.add([waves]);
    const loras = [
      { model: "fortune", scale: 0.37 },
      { model: "waves", scale: -1.9 },
    ];
    const { weights } = await merge(store, "base", loras, { as: "merged" });
    expect(weights).toBe(21);

    const args = [SCRIPT, fixture("base.safetensors"), `0.37=${fortune}`, `-1.9=${waves}`];
    const { stdout } = await promisify(execFile)(PYTHON, args);
    const { methods } = await describeModel(store, "merged");
    const ours = Object.fromEntries(
      (methods[0]?.weights ?? []).map(({ name, digest }) => [name, digest.slice(7)]),
    );
    expect(ours).toEqual(JSON.parse(stdout));
  });
});
