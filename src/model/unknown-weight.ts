import { LinkError } from "../errors.ts";

/**
 * Refuses a weight that the table of a model or method does not have.
 * @throws LinkError `missing-weight`
 */
export function unknownWeight(model: string, name: string): never {
  throw new LinkError("missing-weight", `Cannot link "${model}": its table has no weight "${name}"`, {
    tensor: name,
  });
}
