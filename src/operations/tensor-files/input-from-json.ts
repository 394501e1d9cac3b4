import { UsageError } from "../../errors.ts";
import { tensorFromJson } from "../../tensor/json-tensor.ts";
import type { Port, Signature } from "../../tensor/signature.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/**
 * Makes a model's input of nested JSON arrays, in the dtype that the model's signature gives it.
 * @throws UsageError for an input that the model does not have, or whose values do not fit
 */
export function inputFromJson(value: unknown, name: string, signature: Signature): Tensor {
  const { dtype } = portOf(name, signature);
  if (dtype === undefined)
    throw new UsageError("usage", `Cannot feed "${name}": it is not a tensor`, { tensor: name });
  return tensorFromJson(value, dtype, name);
}

function portOf(name: string, signature: Signature): Port {
  const port = signature.inputs.find((each) => each.name === name);
  if (port) return port;
  const names = signature.inputs.map((each) => each.name).join(", ");
  throw new UsageError("usage", `Cannot feed "${name}": the model has no such input`, {
    tensor: name,
    hint: `Use one of its inputs: ${names}`,
  });
}
