import { allowedLengths, type TextType } from "../../formats/mlir/text-types.ts";
import { sameLayout, type TensorLayout } from "../../tensor/tensor-layout.ts";
import { type ExpectedWeight, matchWeights, weightTable } from "../../weights/match-weights.ts";
import type { WeightLayout, WeightSource } from "../../weights/weight-source.ts";
import type { OpenMlir } from "./open.ts";

/**
 * Binds resources of a program by name, and checks the size and type of each, since no compiler checks that. Accepts
 * every length that a type allows, signless integers of either sign, and bytes without a type. Reads no weights.
 * @param keys resources to bind
 * @returns layouts by key
 * @throws WeightMismatchError `missing-weight`, `mismatch`, with every case
 */
export function matchMlirWeights(
  mlir: OpenMlir,
  keys: Iterable<string>,
  found: Pick<WeightSource, "name" | "layout">,
): ReadonlyMap<string, WeightLayout> {
  const wanted = new Set(keys);
  const layouts = new Map<string, WeightLayout>();
  const expected: ExpectedWeight[] = [];
  const given: ExpectedWeight[] = [];
  for (const name of wanted) {
    const layout = found.layout(name);
    if (!layout) {
      expected.push({ name, ...bytesLayout(0) });
      continue;
    }
    const misfit = findMisfit(mlir, name, layout);
    expected.push({ name, ...(misfit?.expected ?? layout), digest: undefined });
    given.push({ ...layout, ...misfit?.given, name });
    layouts.set(name, layout);
  }
  const path = mlir.source.name;
  matchWeights(expected, weightTable(found.name, given), {
    program: path,
    path,
    hints: {
      "missing-weight": wanted.has("__elided__")
        ? "Use tare detach instead: LLVM prints __elided__ in place of weights, and their names are lost"
        : "Add --from with a model of the store, a file or folder in any format, or a URL",
    },
  });
  return layouts;
}

/** Two layouts that differ. */
interface Misfit {
  readonly expected: TensorLayout;
  readonly given: TensorLayout;
}

/** Finds what a program expects instead of a weight; `undefined` if the weight fits. */
function findMisfit(mlir: OpenMlir, key: string, layout: WeightLayout): Misfit | undefined {
  const { length } = layout;
  const type = mlir.types(key).find((each) => !fits(layout, each));
  if (type) {
    const expected = expectedLayout(type);
    if (!sameLayout(expected, layout)) return { expected, given: layout };
  }
  const [size = length] = type ? allowedLengths(type) : [mlir.manifest?.weights.get(key)?.length];
  return type || size !== length ? { expected: bytesLayout(size), given: bytesLayout(length) } : undefined;
}

function fits({ length, dtype, shape }: WeightLayout, type: TextType): boolean {
  if (!allowedLengths(type).includes(length)) return false;
  // A flat uint8 tensor stands for bytes without a type.
  if (sameLayout({ dtype, shape }, bytesLayout(length))) return true;
  return isOfType(dtype, type) && shape.join() === type.shape.join();
}

/** Whether a dtype matches an MLIR type. `iN` types of MLIR are signless: they match signed and unsigned dtypes. */
function isOfType(dtype: string, { element, dtype: wanted, bits }: TextType): boolean {
  if (element === "i1") return dtype === "bool" || dtype === "uint8";
  if (/^i\d/.test(element))
    return dtype === `int${bits}` || dtype === `uint${bits}` || (bits === 8 && dtype === "bool");
  if (element === "index") return dtype === "int64" || dtype === "uint64";
  return wanted === undefined || dtype === wanted;
}

/** The layout of a type, for errors; plain bytes for an element that no dtype has. */
function expectedLayout(type: TextType): TensorLayout {
  const { element, dtype, shape } = type;
  const known = element === "i1" ? "bool" : element === "index" ? "int64" : dtype;
  return known ? { dtype: known, shape } : bytesLayout(allowedLengths(type)[0] ?? 0);
}

function bytesLayout(length: number): TensorLayout {
  return { dtype: "uint8", shape: [length] };
}
