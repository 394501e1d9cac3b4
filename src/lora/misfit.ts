import { LinkError } from "../errors.ts";
import type { LoraAdapter } from "./adapter.ts";
import type { LoraBase } from "./lora-base.ts";

/** Makes the error of an adapter that does not match a base. */
export function misfit(
  code: "mismatch" | "missing-weight" | "duplicate" | "unsupported",
  adapter: LoraAdapter,
  base: LoraBase,
  reason: string,
  tensor?: string,
  hint?: string,
): LinkError {
  const message = `Cannot use LoRA "${adapter.model.name}" with "${base.name}": ${reason}`;
  return new LinkError(code, message, { tensor, hint });
}
