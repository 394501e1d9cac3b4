import { type ErrorCode, LinkError } from "../errors.ts";
import type { Weight } from "../model/config.ts";
import type { Codec } from "../tensor/quantization/codec.ts";
import { codecOf } from "../tensor/quantization/codec-of.ts";
import { shapeText, someNames } from "./adapter.ts";
import { matrixShape } from "./matrix-shape.ts";

/** The two matrices of a LoRA for one module, by what they are called; not yet checked against each other. */
export interface LoraMatrices {
  readonly module: string;
  /** For an embedding, whose A is looked up by rows. */
  readonly embedding: boolean;
  readonly a: Weight;
  readonly b: Weight;
}

/** Which half of which module a weight is; `undefined` for a weight that is no part of a LoRA. */
export type NameMatrix = (
  name: string,
) => { readonly module: string; readonly half: "a" | "b"; readonly embedding: boolean } | undefined;

/**
 * Sorts a LoRA's weights into pairs, in the order of their first halves.
 * @throws LinkError `missing-weight` for half a pair, or no pair at all; `unsupported` for weights of another kind;
 * `duplicate` for two halves of one name
 */
export function pairMatrices(
  adapter: string,
  weights: readonly Weight[],
  nameHalf: NameMatrix,
): LoraMatrices[] {
  const found = new Map<string, { a?: Weight; b?: Weight; module: string; embedding: boolean }>();
  const others: string[] = [];
  for (const weight of weights) {
    const named = nameHalf(weight.name);
    if (!named) {
      others.push(weight.name);
      continue;
    }
    const { module, half, embedding } = named;
    const entry = found.get(module) ?? { module, embedding };
    if (entry[half] || entry.embedding !== embedding) {
      throw loraError("duplicate", adapter, `module "${module}" has two ${half.toUpperCase()}`, weight.name);
    }
    entry[half] = weight;
    found.set(module, entry);
  }
  if (others.length > 0) {
    const are = others.length === 1 ? "is no part" : "are no part";
    const hint = "only LoRA pairs can be merged: whole weights, biases and DoRA magnitudes cannot";
    const reason = `${someNames(others)} ${are} of a LoRA pair`;
    throw loraError("unsupported", adapter, reason, others[0], hint);
  }
  const single = [...found.values()].filter((each) => !each.a || !each.b);
  if (single.length > 0) {
    const names = single.map((each) => `${(each.a ?? each.b)?.name}`);
    const reason = `${someNames(names)} ${names.length === 1 ? "lacks its" : "lack their"} other half`;
    throw loraError("missing-weight", adapter, reason, names[0], "the adapter is cut off: get it again");
  }
  if (found.size === 0) throw loraError("missing-weight", adapter, "it has no LoRA pair");
  return [...found.values()].map(({ module, embedding, a, b }) => {
    return { module, embedding, a: a as Weight, b: b as Weight };
  });
}

/**
 * Checks that two halves belong together: matrices (or 1×1 convolutions) of floats, of one rank above 0.
 * @param rankOfA index of the dimension of A that is the rank
 * @param rankOfB the same for B
 * @returns the rank
 * @throws LinkError `mismatch`, `unsupported`
 */
export function checkMatrices(adapter: string, halves: LoraMatrices, rankOfA: 0 | 1, rankOfB: 0 | 1): number {
  const { a, b, module } = halves;
  for (const each of [a, b]) {
    if (!matrixShape(each.shape)) {
      const reason = `"${each.name}" has the shape ${shapeText(each.shape)}: only matrices and 1×1 convolutions are merged`;
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
    const reason = `the halves for "${module}" disagree on the rank: ${shapes}`;
    throw loraError("mismatch", adapter, reason, a.name);
  }
  if (rank === 0) throw loraError("mismatch", adapter, `the rank for "${module}" is 0: ${shapes}`, a.name);
  return rank;
}

/** How a matrix of a LoRA is decoded; `undefined` for types that float32 does not hold. */
export function floatCodec({ dtype }: Weight): Codec | undefined {
  return dtype === "float64" ? undefined : codecOf(dtype);
}

/** An error of an adapter in itself, whatever the base. */
export function loraError(
  code: ErrorCode,
  adapter: string,
  reason: string,
  tensor?: string,
  hint?: string,
): LinkError {
  return new LinkError(code, `Cannot use LoRA "${adapter}": ${reason}`, { tensor, hint });
}
