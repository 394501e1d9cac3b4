import { LinkError } from "../../errors.ts";
import { allowedLengths, type TextType } from "../../formats/mlir/text-types.ts";
import type { WeightLayout } from "../../weights/weight-source.ts";
import type { OpenMlir } from "./open.ts";

/**
 * Checks that the size and type of a weight match the program, since no compiler checks that.
 * @param where name of the source of the weight, for errors
 * @throws LinkError `mismatch` with both sizes or types
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
  const recorded = mlir.manifest?.weights.get(key)?.length;
  if (recorded !== undefined && recorded !== length) {
    throw refuse(`it has ${length} bytes, and had ${recorded} when it was detached`);
  }
  for (const type of mlir.types(key)) {
    const lengths = allowedLengths(type);
    if (!lengths.includes(length)) {
      throw refuse(`it has ${length} bytes, and ${type.text} needs ${lengths.join(" or ")}`);
    }
    // A flat uint8 tensor stands for bytes without a type.
    if (dtype === "uint8" && shape.join() === String(length)) continue;
    if (!isOfType(dtype, type)) throw refuse(`it is ${dtype}, and the program has ${type.text}`);
    if (shape.join() !== type.shape.join()) {
      throw refuse(`it is [${shape.join(", ")}], and the program has ${type.text}`);
    }
  }
}

/** Whether a dtype matches an MLIR type. `iN` types of MLIR are signless: they match signed and unsigned dtypes. */
function isOfType(dtype: string, { element, dtype: wanted, bits }: TextType): boolean {
  if (element === "i1") return dtype === "bool" || dtype === "uint8";
  if (/^i\d/.test(element))
    return dtype === `int${bits}` || dtype === `uint${bits}` || (bits === 8 && dtype === "bool");
  if (element === "index") return dtype === "int64" || dtype === "uint64";
  return wanted === undefined || dtype === wanted;
}
