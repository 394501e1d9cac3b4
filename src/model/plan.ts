import { LinkError } from "../errors.ts";
import type { Method, Weight } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { Binding, LinkPlan } from "./link-plan.ts";
import { locationOf } from "./location-of.ts";
import type { StoredModel } from "./stored-model.ts";

/**
 * Finds a method of a model.
 * @param name optional if the model has one method
 * @throws LinkError `not-found`, with the names of the methods
 */
export function methodOf(model: StoredModel, name?: string): Method {
  const { methods } = model.config;
  const method =
    name === undefined && methods.length === 1 ? methods[0] : methods.find((each) => each.name === name);
  if (method) return method;
  const names = methods.map((each) => each.name).join(", ");
  const message =
    name === undefined
      ? `Cannot choose a method of "${model.name}": it has ${methods.length}`
      : `Cannot find method "${name}" of "${model.name}"`;
  throw new LinkError("not-found", message, { hint: `Choose one with --method: ${names}` });
}

/**
 * Binds every weight and constant of a method to a range of a blob.
 * @param locate returns the path of a blob, relative to the root of the engine
 * @throws LinkError `missing-weight` for a weight without a location
 */
export function planLink(model: StoredModel, method: Method, locate: (blob: Digest) => string): LinkPlan {
  const bind = (weight: Weight): Binding => {
    const doing = `link "${model.name}"`;
    const location = locationOf(model, weight.digest, { doing, weight: weight.name });
    return { ...weight, location: locate(location.blob), offset: location.offset, length: location.length };
  };
  const file = model.config.files[method.file];
  if (!file)
    throw new LinkError("not-found", `Cannot link "${model.name}": method "${method.name}" has no file`);
  return {
    model: model.name,
    method: method.name,
    program: file.skeleton,
    weights: method.weights.map(bind),
    constants: method.constants.map(bind),
  };
}
