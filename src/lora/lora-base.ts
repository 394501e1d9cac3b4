import type { Weight } from "../model/config.ts";

/** A weight of a base that a LoRA may change. */
export interface Site {
  readonly method: string;
  readonly weight: Weight;
  /** Folder of a diffusers pipeline that has the weight's file, such as `unet`; `undefined` for the root. */
  readonly component: string | undefined;
  /** Names that a LoRA may use for it: its name without `.weight`, and for ONNX the modules whose nodes use it. */
  readonly modules: readonly string[];
  /** Whether it is stored as [in, out]; `undefined` if the base does not show it. */
  readonly transposed: boolean | undefined;
  /** Why a LoRA cannot be merged into it. */
  readonly refusal: string | undefined;
}

/** The properties of a model that a LoRA must match. */
export interface LoraBase {
  readonly name: string;
  readonly format: string;
  /** `general.architecture` of GGUF. */
  readonly architecture: string | undefined;
  readonly sites: readonly Site[];
}
