import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";

/** A matrix of a LoRA, as a factor of a product: rows × rank on the left, rank × columns on the right. */
export interface Factor {
  readonly weight: Weight;
  /** Whether the stored weight is the transpose of the factor. */
  readonly transposed: boolean;
}

/** A module of a base, by the names of a LoRA. */
export interface LoraModule {
  /** Name of the module in the LoRA, without `.weight`; used in messages and mappings. */
  readonly module: string;
  /** Name to look for in the base: the module's name without the prefix of the LoRA's format. */
  readonly target: string;
  /** Folders of a diffusers pipeline that may have the module, such as `unet`; empty if the LoRA names none. */
  readonly components: readonly string[];
  /** Whether underscores of the target stand for dots, as in files of kohya's trainers. */
  readonly flattened: boolean;
}

/** The change of one weight by a LoRA: `scaling` times the product of two matrices of low rank. */
export interface LoraPair extends LoraModule {
  readonly rank: number;
  readonly alpha: number;
  /** Factor of the product at scale 1: alpha / rank, unless the adapter sets another. */
  readonly scaling: number;
  /** Shape of the product: [out, in], or [vocabulary, width] for an embedding. */
  readonly shape: readonly [number, number];
  readonly left: Factor;
  readonly right: Factor;
  /** Whether the weight is an embedding, which is always stored as [vocabulary, width]. */
  readonly embedding: boolean;
  /** Whether the adapter declares weights stored as [in, out]: one flag for all modules of an adapter. */
  readonly fanInFanOut: boolean;
}

/** A full weight beside the pairs of a LoRA. It is ignored if the base has the same bytes. */
export interface LoraCopy extends LoraModule {
  readonly weight: Weight;
  /** Whether the adapter declares the weight as trained (`modules_to_save` of PEFT). */
  readonly trained: boolean;
}

/** A LoRA adapter of the store, checked without a base. */
export interface LoraAdapter {
  readonly model: StoredModel;
  readonly layout: "gguf" | "peft" | "diffusers" | "kohya";
  /** Architecture of the base (`general.architecture` of GGUF), if the adapter declares it. */
  readonly architecture: string | undefined;
  readonly pairs: readonly LoraPair[];
  readonly copies: readonly LoraCopy[];
  /** Notes for people: parts of the adapter that are left out, and assumptions about it. */
  readonly notes: readonly string[];
}

/** Makes a module whose names in the LoRA and in the base are equal. */
export function plainModule(module: string): LoraModule {
  return { module, target: module, components: [], flattened: false };
}

/** Formats the first names of a list, and the number of the others, for errors. */
export function someNames(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).map((name) => `"${name.slice(0, 120)}"`);
  return names.length > most ? `${shown.join(", ")} and ${names.length - most} more` : shown.join(", ");
}

/** Formats a shape for errors. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/** Removes the suffix `.weight` from a name. */
export function moduleName(name: string): string {
  return name.replace(/\.weight$/, "");
}
