import { type LoraModule, type LoraPair, shapeText } from "./adapter.ts";
import { checkMatrices, type LoraMatrices, loraError } from "./lora-matrices.ts";
import { matrixShape } from "./matrix-shape.ts";
import { forModule } from "./module-patterns.ts";
import type { PeftConfig } from "./peft-config.ts";

/** A config, and the name of its place in errors. */
export type LocatedConfig = PeftConfig & { readonly where: string };

/**
 * Makes the pair of a module whose A is [rank, in] and B [out, rank], or of an embedding: A [rank, vocabulary], B
 * [width, rank].
 * @throws LinkError `mismatch` if the config has another rank
 */
export function peftPair(
  adapter: string,
  matrices: LoraMatrices,
  settings: LocatedConfig,
  module: LoraModule,
): LoraPair {
  const { embedding, a } = matrices;
  const rank = checkMatrices(adapter, matrices, 0, 1);
  const said = forModule(settings.rankPattern, module.target, settings.rank);
  if (said !== rank) {
    const reason = `${settings.where} says rank ${said} for "${module.module}", and A is ${shapeText(a.shape)}`;
    throw loraError("mismatch", adapter, reason, a.name);
  }
  const alpha = forModule(settings.alphaPattern, module.target, settings.alpha);
  const scaling = alpha / (settings.rankStabilized ? Math.sqrt(rank) : rank);
  const fanInFanOut = settings.fanInFanOut && !embedding;
  return { ...module, ...productOf(matrices), rank, alpha, scaling, embedding, fanInFanOut };
}

/** Finds the order and orientation of the matrices in the product. */
export function productOf({ a, b, embedding }: LoraMatrices): Pick<LoraPair, "shape" | "left" | "right"> {
  const [, columnsOfA] = matrixShape(a.shape) as readonly [number, number];
  const [rowsOfB] = matrixShape(b.shape) as readonly [number, number];
  return embedding
    ? {
        shape: [columnsOfA, rowsOfB],
        left: { weight: a, transposed: true },
        right: { weight: b, transposed: true },
      }
    : {
        shape: [rowsOfB, columnsOfA],
        left: { weight: b, transposed: false },
        right: { weight: a, transposed: false },
      };
}
