import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { type LoraAdapter, type LoraCopy, moduleName, plainModule, someNames } from "./adapter.ts";
import { loraError, type NameMatrix, pairMatrices } from "./lora-matrices.ts";
import { checkPatternWork } from "./module-patterns.ts";
import { parsePeftConfig, type PeftConfig } from "./peft-config.ts";
import { peftPair } from "./peft-pair.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** The file beside a PEFT adapter's weights that says what they are. */
export const PEFT_CONFIG = "adapter_config.json";
/** What PEFT puts before the names of the model that it wraps. */
export const PEFT_WRAPPER = "base_model.model.";

/**
 * Reads a LoRA as PEFT saves it: a folder of `adapter_model.safetensors` (or `adapter_model.bin`) and
 * `adapter_config.json`. Of the weights nothing is read.
 * @throws LinkError for an adapter that is not whole, or more than LoRA
 */
export async function peftAdapter(store: BlobReader, model: StoredModel): Promise<LoraAdapter> {
  const { name, config } = model;
  const file = config.files.find((each) => each.path === PEFT_CONFIG);
  if (!file) {
    throw loraError(
      "not-found",
      name,
      `it has no ${PEFT_CONFIG}, which says its rank and alpha`,
      undefined,
      "add the folder that PEFT saved, not the file alone",
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

/** `MODULE.lora_A.weight`, `MODULE.lora_A.ADAPTER.weight`, `MODULE.lora_embedding_A`, and the same with B. */
export const namePeftMatrix: NameMatrix = (name) => {
  const [, path, embedding, half, end = ""] =
    /^(.+)\.lora_(embedding_)?([AB])((?:\.[^.]+)*)$/s.exec(name) ?? [];
  if (path === undefined) return undefined;
  if (!(embedding ? /^(\.[^.]+)?(\.weight)?$/ : /^(\.[^.]+)?\.weight$/).test(end)) return undefined;
  const module = path.startsWith(PEFT_WRAPPER) ? path.slice(PEFT_WRAPPER.length) : path;
  return { module, half: half === "A" ? "a" : "b", embedding: embedding !== undefined };
};

/**
 * Whole weights that PEFT saves beside the pairs: of `modules_to_save`, and the base's own embeddings where they are
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
  const reason = `its ${PEFT_CONFIG} has modules_to_save: ${someNames(absent)}, its weights do not`;
  throw loraError("unsupported", adapter, reason, undefined, "The adapter is cut off: get it again");
}
