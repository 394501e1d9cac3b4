import { type ErrorCode, LinkError } from "../errors.ts";
import type { Weight } from "../model/config.ts";
import type { Codec } from "../tensor/quantization/codec.ts";
import { codecOf } from "../tensor/quantization/codec-of.ts";
import { shapeText, someNames } from "./adapter.ts";
import { matrixShape } from "./matrix-shape.ts";

/** The two matrices of a LoRA for one module, paired by name, before their shapes are checked. */
export interface LoraMatrices {
  readonly module: string;
  /** Whether they are for an embedding, whose A is read by rows. */
  readonly embedding: boolean;
  readonly a: Weight;
  readonly b: Weight;
}

/** Finds the module and the matrix of a weight by its name; `undefined` for a weight that is not part of a LoRA. */
export type NameMatrix = (
  name: string,
) => { readonly module: string; readonly matrix: "a" | "b"; readonly embedding: boolean } | undefined;

/**
 * Sorts the weights of a LoRA into pairs, in the order of the first matrix of each pair.
 * @throws LinkError `missing-weight` for an incomplete pair, or without any pair; `unsupported` for other weights;
 * `duplicate` for two matrices of one name
 */
export function pairMatrices(
  adapter: string,
  weights: readonly Weight[],
  nameMatrix: NameMatrix,
): LoraMatrices[] {
  const found = new Map<string, { a?: Weight; b?: Weight; module: string; embedding: boolean }>();
  const others: string[] = [];
  for (const weight of weights) {
    const named = nameMatrix(weight.name);
    if (!named) {
      others.push(weight.name);
      continue;
    }
    const { module, matrix, embedding } = named;
    const entry = found.get(module) ?? { module, embedding };
    if (entry[matrix] || entry.embedding !== embedding) {
      throw loraError(
        "duplicate",
        adapter,
        `module "${module}" has two ${matrix.toUpperCase()}`,
        weight.name,
      );
    }
    entry[matrix] = weight;
    found.set(module, entry);
  }
  if (others.length > 0) {
    const are = others.length === 1 ? "is not part" : "are not part";
    const hint =
      "Give an adapter of LoRA pairs only: full weights, biases and DoRA magnitudes cannot be merged";
    const reason = `${someNames(others)} ${are} of a LoRA pair`;
    throw loraError("unsupported", adapter, reason, others[0], hint);
  }
  const single = [...found.values()].filter((each) => !each.a || !each.b);
  if (single.length > 0) {
    const names = single.map((each) => `${(each.a ?? each.b)?.name}`);
    const reason = `${someNames(names)} ${names.length === 1 ? "has no" : "have no"} other matrix`;
    throw loraError("missing-weight", adapter, reason, names[0], "Get the adapter again: it is incomplete");
  }
  if (found.size === 0) throw loraError("missing-weight", adapter, "it has no LoRA pair");
  return [...found.values()].map(({ module, embedding, a, b }) => {
    return { module, embedding, a: a as Weight, b: b as Weight };
  });
}

/**
 * Checks the pair of a module: matrices (or 1×1 convolutions) of floats, with the same rank above 0.
 * @param rankOfA index of the dimension of A that is the rank
 * @param rankOfB index of the dimension of B that is the rank
 * @returns the rank
 * @throws LinkError `mismatch`, `unsupported`
 */
export function checkMatrices(
  adapter: string,
  matrices: LoraMatrices,
  rankOfA: 0 | 1,
  rankOfB: 0 | 1,
): number {
  const { a, b, module } = matrices;
  for (const each of [a, b]) {
    if (!matrixShape(each.shape)) {
      const reason = `"${each.name}" has the shape ${shapeText(each.shape)}: only matrices and 1×1 convolutions can be merged`;
      throw loraError("unsupported", adapter, reason, each.name);
    }
    if (!floatCodec(each)) {
      throw loraError("unsupported", adapter, `"${each.name}" is of type ${each.dtype}`, each.name);
    }
  }
  const rank = a.shape[rankOfA] as number;
  const other = b.shape[rankOfB] as number;
  const shapes = `A is ${shapeText(a.shape)}, B is ${shapeText(b.shape)}`;
  if (rank !== other) {
    const reason = `the matrices of "${module}" have different ranks: ${shapes}`;
    throw loraError("mismatch", adapter, reason, a.name);
  }
  if (rank === 0) throw loraError("mismatch", adapter, `the rank for "${module}" is 0: ${shapes}`, a.name);
  return rank;
}

/** Finds the codec of a LoRA's matrix; `undefined` for dtypes that float32 cannot represent. */
export function floatCodec({ dtype }: Weight): Codec | undefined {
  return dtype === "float64" ? undefined : codecOf(dtype);
}

/** Makes the error of an adapter that no base can use. */
export function loraError(
  code: ErrorCode,
  adapter: string,
  reason: string,
  tensor?: string,
  hint?: string,
): LinkError {
  return new LinkError(code, `Cannot use LoRA "${adapter}": ${reason}`, { tensor, hint });
}
