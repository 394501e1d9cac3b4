import { findEntry } from "../formats/gguf/values.ts";
import type { Method, Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { moduleName } from "./adapter.ts";
import { ggufHeaderOf } from "./gguf-adapter.ts";
import { onnxSites } from "./onnx-base.ts";
import { orientationsOf } from "./orientation.ts";
import type { BlobReader } from "../store/store.ts";

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

/**
 * Describes a model as a base: of its weights nothing is read, of an ONNX model its graphs, of others a `config.json`
 * where the orientation of a weight depends on it.
 */
export async function openBase(store: BlobReader, model: StoredModel): Promise<LoraBase> {
  const { name, config } = model;
  const sites: Site[] = [];
  for (const method of config.methods) {
    const found =
      config.format === "onnx" ? onnxSites(store, model, method) : plainSites(store, model, method);
    const [component] = config.files[method.file]?.path.split("/").slice(0, -1) ?? [];
    for (const site of await found) sites.push({ ...site, component });
  }
  const architecture = config.format === "gguf" ? await architectureOf(store, model) : undefined;
  return { name, format: config.format, architecture, sites };
}

async function plainSites(
  store: BlobReader,
  model: StoredModel,
  method: Method,
): Promise<Omit<Site, "component">[]> {
  const orientations = await orientationsOf(store, model, method);
  return method.weights.map((weight) => ({
    method: method.name,
    weight,
    modules: [moduleName(weight.name)],
    transposed: orientations(weight),
    refusal: undefined,
  }));
}

async function architectureOf(store: BlobReader, model: StoredModel): Promise<string | undefined> {
  const { metadata } = await ggufHeaderOf(store, model);
  const value = findEntry(metadata, "general.architecture")?.value;
  return typeof value === "string" ? value : undefined;
}
