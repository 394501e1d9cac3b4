import { findEntry } from "../formats/gguf/values.ts";
import type { Method } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { moduleName } from "./adapter.ts";
import { ggufHeaderOf } from "./gguf-adapter.ts";
import type { LoraBase, Site } from "./lora-base.ts";
import { onnxSites } from "./onnx-base.ts";
import { orientationsOf } from "./orientation.ts";
import type { BlobReader } from "../store/store.ts";

/**
 * Describes a model as a base. Reads no weights: only the graphs of an ONNX model, and the `config.json` of other models
 * if the orientation of a weight depends on it.
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
