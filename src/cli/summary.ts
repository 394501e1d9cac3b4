import { tensorToJson } from "../tensor/json-tensor.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Number of values shown at each end of a tensor. */
const SHOWN = 3;

/** Formats the first and last values of a tensor, and the range of its numbers. */
export function summarize(tensor: Tensor): string {
  const flat = [tensorToJson({ ...tensor, shape: [elements(tensor)] })].flat() as (
    | number
    | string
    | boolean
  )[];
  if (flat.length === 0) return "empty";
  const shown =
    flat.length <= 2 * SHOWN
      ? flat.map(text)
      : [...flat.slice(0, SHOWN).map(text), "…", ...flat.slice(-SHOWN).map(text)];
  const numbers = flat.filter((value): value is number => typeof value === "number");
  if (numbers.length === 0) return shown.join(" ");
  const [least, most] = numbers.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  );
  const odd = flat.length - numbers.length;
  return `${shown.join(" ")}  (${text(least)} to ${text(most)}${odd > 0 ? `, ${odd} not finite` : ""})`;
}

function elements(tensor: Tensor): number {
  return tensor.shape.reduce((count, dim) => count * dim, 1);
}

function text(value: number | string | boolean): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "boolean" || Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(5)));
}
