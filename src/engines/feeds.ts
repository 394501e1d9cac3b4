import { EngineError } from "../errors.ts";
import type { Tensors } from "../tensor/tensor.ts";
import type { Signature } from "./engine.ts";

/**
 * Checks that exactly the inputs of a signature are given.
 * @throws EngineError `missing-input`, `bad-input`
 */
export function requireFeeds(signature: Signature, inputs: Tensors): void {
  const names = signature.inputs.map((port) => port.name);
  const missing = names.find((name) => !Object.hasOwn(inputs, name));
  if (missing !== undefined) {
    throw new EngineError("missing-input", `Cannot run without input "${missing}"`, { tensor: missing });
  }
  const odd = Object.keys(inputs).find((name) => !names.includes(name));
  if (odd !== undefined) {
    const hint = `Use one of its inputs: ${names.join(", ")}`;
    throw new EngineError("bad-input", `Cannot feed "${odd}": the model has no such input`, {
      tensor: odd,
      hint,
    });
  }
}
