import { LinkError } from "../../errors.ts";
import { allowedLengths, type TextType } from "../../formats/mlir/text-types.ts";
import type { WeightLayout } from "../../weights/weight-source.ts";
import type { OpenMlir } from "./open.ts";

/**
 * Makes sure that a weight has a size and a type that the program takes, which no compiler checks.
 * @param where what has the weight, for errors
 * @throws LinkError `mismatch` naming both sides
 */
export function checkWeightCompatibility(
  mlir: OpenMlir,
  key: string,
  { length, dtype, shape }: WeightLayout,
  where: string,
): void {
  const refuse = (reason: string): LinkError =>
    new LinkError("mismatch", `Cannot attach "${key}" from ${where}: ${reason}`, {
      path: mlir.source.name,
      tensor: key,
    });
  const said = mlir.manifest?.weights.get(key)?.length;
  if (said !== undefined && said !== length) {
    throw refuse(`it has ${length} bytes, and had ${said} when it was detached`);
  }
  for (const type of mlir.types(key)) {
    const lengths = allowedLengths(type);
    if (!lengths.includes(length)) {
      throw refuse(`it has ${length} bytes, ${type.text} takes ${lengths.join(" or ")}`);
    }
    // Plain bytes have no type of their own.
    if (dtype === "uint8" && shape.join() === String(length)) continue;
    if (!isOfType(dtype, type)) throw refuse(`it is ${dtype}, the program has ${type.text}`);
    if (shape.join() !== type.shape.join()) {
      throw refuse(`it is [${shape.join(", ")}], the program has ${type.text}`);
    }
  }
}

/** Integers of MLIR have no sign unless they say one. */
function isOfType(dtype: string, { element, dtype: wanted, bits }: TextType): boolean {
  if (element === "i1") return dtype === "bool" || dtype === "uint8";
  if (/^i\d/.test(element))
    return dtype === `int${bits}` || dtype === `uint${bits}` || (bits === 8 && dtype === "bool");
  if (element === "index") return dtype === "int64" || dtype === "uint64";
  return wanted === undefined || dtype === wanted;
}
