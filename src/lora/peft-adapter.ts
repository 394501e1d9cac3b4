import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { type LoraAdapter, type LoraCopy, moduleName, plainModule, someNames } from "./adapter.ts";
import { loraError, type NameMatrix, pairMatrices } from "./lora-matrices.ts";
import { checkPatternWork } from "./module-patterns.ts";
import { parsePeftConfig, type PeftConfig } from "./peft-config.ts";
import { peftPair } from "./peft-pair.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** Name of the config file of a PEFT adapter. */
export const PEFT_CONFIG = "adapter_config.json";
/** Prefix that PEFT adds to the names of the model that it wraps. */
export const PEFT_WRAPPER = "base_model.model.";

/**
 * Reads a LoRA as PEFT saves it: a folder of `adapter_model.safetensors` (or `adapter_model.bin`) and
 * `adapter_config.json`. Reads no weights.
 * @throws LinkError for an incomplete adapter, or one with more than LoRA pairs
 */
export async function peftAdapter(store: BlobReader, model: StoredModel): Promise<LoraAdapter> {
  const { name, config } = model;
  const file = config.files.find((each) => each.path === PEFT_CONFIG);
  if (!file) {
    throw loraError(
      "not-found",
      name,
      `it has no ${PEFT_CONFIG}, which has its rank and alpha`,
      undefined,
      "Add the folder that PEFT saved, not only the file",
    );
  }
  const text = new TextDecoder().decode(await readBlob(store, file.skeleton));
  const settings = parsePeftConfig(text, name);
  const weights = config.methods.flatMap((method) => method.weights);
  const copies = copiesOf(name, weights, settings);
  const copied = new Set(copies.map((copy) => copy.weight));
  const matrices = pairMatrices(
    name,
    weights.filter((weight) => !copied.has(weight)),
    namePeftMatrix,
  );
  const modules = matrices.map((each) => each.module);
  for (const patterns of [settings.rankPattern, settings.alphaPattern]) checkPatternWork(patterns, modules);
  const pairs = matrices.map((each) =>
    peftPair(name, each, { ...settings, where: PEFT_CONFIG }, plainModule(each.module)),
  );
  return { model, layout: "peft", architecture: undefined, pairs, copies, notes: [] };
}

/** Matches `MODULE.lora_A.weight`, `MODULE.lora_A.ADAPTER.weight`, `MODULE.lora_embedding_A`, and the same with B. */
export const namePeftMatrix: NameMatrix = (name) => {
  const [, path, embedding, matrix, end = ""] =
    /^(.+)\.lora_(embedding_)?([AB])((?:\.[^.]+)*)$/s.exec(name) ?? [];
  if (path === undefined) return undefined;
  if (!(embedding ? /^(\.[^.]+)?(\.weight)?$/ : /^(\.[^.]+)?\.weight$/).test(end)) return undefined;
  const module = path.startsWith(PEFT_WRAPPER) ? path.slice(PEFT_WRAPPER.length) : path;
  return { module, matrix: matrix === "A" ? "a" : "b", embedding: embedding !== undefined };
};

/**
 * Finds the full weights that PEFT saves beside the pairs: those of `modules_to_save`, and embeddings of the base that are
 * targets (`base_layer`) or were resized.
 */
function copiesOf(adapter: string, weights: readonly Weight[], { modulesToSave }: PeftConfig): LoraCopy[] {
  const copies = weights.flatMap((weight): LoraCopy[] => {
    if (!weight.name.startsWith(PEFT_WRAPPER) || /\.(lora|token_adapter)_?/.test(weight.name)) return [];
    const name = weight.name
      .slice(PEFT_WRAPPER.length)
      .replace(/\.(base_layer|original_module|modules_to_save(\.default)?)(?=\.)/g, "");
    const module = moduleName(name);
    const parts = `.${name}`;
    const trained = modulesToSave.some((each) => parts.includes(`.${each}.`));
    return [{ ...plainModule(module), weight, trained }];
  });
  const absent = modulesToSave.filter(
    (each) => !copies.some(({ weight }) => `.${weight.name}`.includes(`.${each}.`)),
  );
  if (absent.length === 0) return copies;
  const reason = `its ${PEFT_CONFIG} has modules_to_save: ${someNames(absent)}, and its weights do not`;
  throw loraError("unsupported", adapter, reason, undefined, "Get the adapter again: it is incomplete");
}
