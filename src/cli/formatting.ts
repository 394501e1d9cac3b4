import type { CompiledMethod } from "../compile/backends/compiled-model.ts";
import type { LoraInfo } from "../lora/lora-bases.ts";
import type { Port } from "../tensor/signature.ts";
import type { Digest } from "../tensor/digest.ts";
import { table } from "./context.ts";

/** Formats an input or output as a line of a signature. */
export function portText({ name, dtype, shape }: Port): string {
  const dims = shape?.map((dim) => dim ?? "?").join(", ") ?? "any rank";
  return `${name}: ${dtype ?? "not a tensor"} [${dims}]`;
}

/** Formats a table of the inputs that a compiled method binds its weights to. */
export function bindingsText({ name, partitions }: CompiledMethod): string {
  const rows = partitions.flatMap(({ backend, bindings }, index) =>
    bindings.map(({ weight, input, layout, dtype, shape, digest }) => [
      weight,
      input === weight ? "the same" : input,
      `${index} ${backend}`,
      layout,
      `${dtype} [${shape.join(", ")}]`,
      shortDigest(digest),
    ]),
  );
  const header = ["WEIGHT", "BOUND AS", "PARTITION", "LAYOUT", "TYPE", "DIGEST"];
  return `${table([["method", name]])}\n\n${table([header, ...rows])}`;
}

/** Formats the models that a LoRA fits, or why it cannot be used. */
export function loraText({ bases, refusal }: LoraInfo): string {
  if (refusal !== undefined)
    return `LoRA that cannot be used: ${refusal.replace(/^Cannot use LoRA "[^"]*": /, "")}`;
  return bases.length > 0 ? `LoRA for ${bases.join(", ")}` : "LoRA for no model of this store";
}

/** The first twelve hexadecimal digits of a digest. */
export function shortDigest(digest: Digest): string {
  return digest.slice("sha256:".length, "sha256:".length + 12);
}
