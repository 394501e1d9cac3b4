import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";

/** A matrix of a LoRA, as a product needs it: rows × rank on the left, rank × columns on the right. */
export interface Factor {
  readonly weight: Weight;
  /** Whether the weight is stored the other way round. */
  readonly transposed: boolean;
}

/** What a LoRA adds to one weight: `scaling` times the product of two thin matrices. */
export interface LoraPair {
  /** What the LoRA calls the weight that it is for, without `.weight`. */
  readonly module: string;
  readonly rank: number;
  readonly alpha: number;
  /** What the product is multiplied by at a scale of 1: alpha / rank, or what the adapter says instead. */
  readonly scaling: number;
  /** Of the product: [out, in], or [vocabulary, width] of an embedding. */
  readonly shape: readonly [number, number];
  readonly left: Factor;
  readonly right: Factor;
  /** Whether the weight is for a module that has its weight as [in, out]. */
  readonly fanInFanOut: boolean;
}

/** A LoRA adapter of the store, checked in itself. */
export interface LoraAdapter {
  readonly model: StoredModel;
  readonly layout: "gguf" | "peft";
  /** Of the base, where the adapter says it: as `general.architecture` of GGUF. */
  readonly architecture: string | undefined;
  readonly pairs: readonly LoraPair[];
}

/** Names as people read them in an error: the first few, and how many more. */
export function someNames(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).map((name) => `"${name.slice(0, 120)}"`);
  return names.length > most ? `${shown.join(", ")} and ${names.length - most} more` : shown.join(", ");
}

/** A shape as errors spell it. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/** A weight's or module's name without the `.weight` that ends most. */
export function moduleName(name: string): string {
  return name.replace(/\.weight$/, "");
}
