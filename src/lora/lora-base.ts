import type { Weight } from "../model/config.ts";

/** A weight of a base that a LoRA may be for. */
export interface Site {
  readonly method: string;
  readonly weight: Weight;
  /** The folder of a diffusers pipeline that the weight's file is in, such as `unet`; `undefined` for the root. */
  readonly component: string | undefined;
  /** What a LoRA may call it: its name without `.weight`, and for ONNX the modules whose nodes use it. */
  readonly modules: readonly string[];
  /** Whether it is stored as [in, out], as far as the base says it. */
  readonly transposed: boolean | undefined;
  /** Why a LoRA cannot be merged into it. */
  readonly refusal: string | undefined;
}

/** What of a model a LoRA has to fit. */
export interface LoraBase {
  readonly name: string;
  readonly format: string;
  /** `general.architecture` of GGUF. */
  readonly architecture: string | undefined;
  readonly sites: readonly Site[];
}
