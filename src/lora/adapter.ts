import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";

/** A matrix of a LoRA, as a product needs it: rows × rank on the left, rank × columns on the right. */
export interface Factor {
  readonly weight: Weight;
  /** Whether the weight is stored the other way round. */
  readonly transposed: boolean;
}

/** A module of a base, as a LoRA names it. */
export interface LoraModule {
  /** What the LoRA calls the module, without `.weight`: for messages, and for mappings of names. */
  readonly module: string;
  /** The same without what the LoRA's format adds, to look for in the base. */
  readonly target: string;
  /** Folders of a diffusers pipeline that the module may be in, such as `unet`; none unless the LoRA says so. */
  readonly components: readonly string[];
  /** Whether each dot of the target is written as an underscore, as kohya's trainers do. */
  readonly flattened: boolean;
}

/** What a LoRA adds to one weight: `scaling` times the product of two thin matrices. */
export interface LoraPair extends LoraModule {
  readonly rank: number;
  readonly alpha: number;
  /** What the product is multiplied by at a scale of 1: alpha / rank, or what the adapter says instead. */
  readonly scaling: number;
  /** Of the product: [out, in], or [vocabulary, width] of an embedding. */
  readonly shape: readonly [number, number];
  readonly left: Factor;
  readonly right: Factor;
  /** Whether the weight is an embedding, which has one orientation only. */
  readonly embedding: boolean;
  /** Whether the adapter says that modules have their weights as [in, out]: one flag for all modules of an adapter. */
  readonly fanInFanOut: boolean;
}

/** A whole weight beside the pairs of a LoRA: no part of it if the base has the same bytes. */
export interface LoraCopy extends LoraModule {
  readonly weight: Weight;
  /** Whether the adapter says that it trained the weight (`modules_to_save` of PEFT). */
  readonly trained: boolean;
}

/** A LoRA adapter of the store, checked in itself. */
export interface LoraAdapter {
  readonly model: StoredModel;
  readonly layout: "gguf" | "peft" | "diffusers" | "kohya";
  /** Of the base, where the adapter says it: as `general.architecture` of GGUF. */
  readonly architecture: string | undefined;
  readonly pairs: readonly LoraPair[];
  readonly copies: readonly LoraCopy[];
  /** What is left out of the adapter, or assumed about it, for people. */
  readonly notes: readonly string[];
}

/** A module whose name in the LoRA is its name in the base. */
export function plainModule(module: string): LoraModule {
  return { module, target: module, components: [], flattened: false };
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
