import { parseStrictJson } from "../encodings/json.ts";
import { parseSafetensorsHeader } from "../formats/safetensors/parse-header.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { type LoraAdapter, type LoraModule, type LoraPair, someNames } from "./adapter.ts";
import { checkMatrices, type LoraMatrices, loraError, type NameMatrix } from "./lora-matrices.ts";
import { checkPatternWork } from "./module-patterns.ts";
import { PEFT_WRAPPER } from "./peft-adapter.ts";
import { readPeftConfig } from "./peft-config.ts";
import { type LocatedConfig, peftPair, productOf } from "./peft-pair.ts";
import { pairsAndAlphas } from "./read-alphas.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** Folders of a pipeline by the prefix of names. */
const COMPONENTS: Readonly<Record<string, readonly string[]>> = Object.fromEntries([
  ...[
    "unet",
    "transformer",
    "transformer_2",
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
    "prior",
  ].map((name) => [name, [name]]),
  // ComfyUI uses this prefix for both folders.
  ["diffusion_model", ["unet", "transformer"]],
]) as Readonly<Record<string, readonly string[]>>;
/** The file that diffusers writes. */
const FILE = /(^|\/)pytorch_lora_weights\./;
/** Metadata key under which diffusers stores the settings of each component, as JSON. */
const METADATA = "lora_adapter_metadata";

/** Whether weights have the names of a LoRA of diffusers or ComfyUI. Ignores other weights. */
export function isDiffusersLora(names: readonly string[]): boolean {
  return (
    names.some((name) => /\.lora_|\.lora\.|_lora\./.test(name)) &&
    names.every((name) => !name.startsWith(PEFT_WRAPPER) && /\.lora_|\.lora\.|_lora\.|\.alpha$/.test(name)) &&
    names.every((name) => Object.hasOwn(COMPONENTS, name.split(".")[0] ?? ""))
  );
}

/** Suffixes of both matrices, in the current form and in older ones. */
const MATRIX =
  /^(.+)\.(?:lora_([AB])|lora_(down|up)|lora\.(down|up)|lora_linear_layer\.(down|up))(?:\.default)?\.weight$/s;

/**
 * Reads a LoRA as diffusers saves it: `COMPONENT.MODULE.lora_A.weight` and `.lora_B.weight`, with settings in the file's
 * metadata, with `.alpha` beside them, or without both: then each alpha is the rank. Reads no weights but the alphas.
 * Source: https://github.com/huggingface/diffusers/blob/main/src/diffusers/loaders/lora_base.py
 * @throws LinkError for an incomplete adapter, or one with more than LoRA pairs; `not-found` if no alpha is recorded
 */
export async function diffusersAdapter(store: BlobReader, model: StoredModel): Promise<LoraAdapter> {
  const { name } = model;
  const { found, alphas } = await pairsAndAlphas(store, model, nameMatrix);
  const settings = await settingsOf(store, model, componentsOf(found));
  if (settings.size > 0 && alphas.size > 0) {
    const module = [...alphas.keys()][0];
    throw loraError("duplicate", name, `both its ${METADATA} and its weights have alphas`, `${module}.alpha`);
  }
  const targets = found.map((each) => moduleOf(each.module).target);
  for (const { rankPattern, alphaPattern } of settings.values()) {
    for (const patterns of [rankPattern, alphaPattern]) checkPatternWork(patterns, targets);
  }
  const assumed: string[] = [];
  const pairs = found.map((each): LoraPair => {
    const module = moduleOf(each.module);
    const config = settings.get(each.module.split(".")[0] ?? "");
    if (config) return peftPair(name, each, config, module);
    const rank = checkMatrices(name, each, 0, 1);
    const alpha = alphas.get(each.module);
    if (alpha === undefined) assumed.push(each.module);
    const scaling = alpha === undefined ? 1 : alpha / rank;
    const common = { ...module, rank, alpha: alpha ?? rank, scaling, embedding: false, fanInFanOut: false };
    return { ...common, ...productOf(each) };
  });
  if (assumed.length > 0 && !model.config.files.some((file) => FILE.test(file.path))) {
    const reason = `${someNames(assumed)} have no alpha`;
    const hint =
      "If diffusers wrote it, name the file pytorch_lora_weights.safetensors: alpha is then the rank";
    throw loraError("not-found", name, reason, assumed[0], hint);
  }
  const notes =
    assumed.length === 0
      ? []
      : [`${someNames(assumed)}: without an alpha, the rank counts as alpha, as in diffusers`];
  return { model, layout: "diffusers", architecture: undefined, pairs, copies: [], notes };
}

const nameMatrix: NameMatrix = (name) => {
  const [, module, letter, ...words] = MATRIX.exec(name) ?? [];
  if (module === undefined) return undefined;
  const first = letter === "A" || words.includes("down");
  return { module, matrix: first ? "a" : "b", embedding: false };
};

function moduleOf(module: string): LoraModule {
  const [component = "", ...parts] = module.split(".");
  return { module, target: parts.join("."), components: COMPONENTS[component] ?? [], flattened: false };
}

function componentsOf(found: readonly LoraMatrices[]): string[] {
  return [...new Set(found.map((each) => each.module.split(".")[0] ?? ""))];
}

/** Reads the settings of each component from the file's metadata, with keys such as `transformer.lora_alpha`. */
async function settingsOf(
  store: BlobReader,
  model: StoredModel,
  components: readonly string[],
): Promise<Map<string, LocatedConfig>> {
  const settings = new Map<string, LocatedConfig>();
  const file = model.config.files[model.config.methods[0]?.file ?? 0];
  if (model.config.format !== "safetensors" || !file) return settings;
  const at = { name: `${model.name}/${file.path}`, size: file.size };
  const { metadata = {} } = parseSafetensorsHeader(await readBlob(store, file.skeleton), at);
  if (!Object.hasOwn(metadata, METADATA)) return settings;
  const json = parseStrictJson(metadata[METADATA] as string, `${at.name}, ${METADATA}`);
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw loraError("malformed", model.name, `its ${METADATA} is not an object`);
  }
  const entries = Object.entries(json) as [string, unknown][];
  for (const component of components) {
    const own = entries.flatMap(([key, value]) =>
      key.startsWith(`${component}.`) ? [[key.slice(component.length + 1), value] as const] : [],
    );
    if (own.length === 0) continue;
    // diffusers may leave out settings that have their default value.
    const config = { peft_type: "LORA", ...Object.fromEntries(own) };
    settings.set(component, { ...readPeftConfig(config, METADATA, model.name), where: METADATA });
  }
  return settings;
}
