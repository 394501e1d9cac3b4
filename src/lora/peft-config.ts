import { parseStrictJson } from "../encodings/json.ts";
import { loraError } from "./lora-matrices.ts";
import { modulePatterns, type ModulePatterns } from "./module-patterns.ts";

/** The settings of PEFT's `adapter_config.json` that merging depends on. */
export interface PeftConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly rankPattern: ModulePatterns;
  readonly alphaPattern: ModulePatterns;
  /** Scale by alpha / √rank instead of alpha / rank. */
  readonly rankStabilized: boolean;
  readonly fanInFanOut: boolean;
  /** Modules whose full weights are saved. */
  readonly modulesToSave: readonly string[];
}

/** Values of `init_lora_weights` that do not change the base. Other values change it, or are unknown. */
const KEEPS_BASE: readonly string[] = ["gaussian", "eva", "orthogonal", "mica"];

/** Keys that {@link parsePeftConfig} reads. */
const READ: readonly string[] = [
  "peft_type",
  "r",
  "lora_alpha",
  "rank_pattern",
  "alpha_pattern",
  "use_rslora",
  "fan_in_fan_out",
  "bias",
  "init_lora_weights",
  "modules_to_save",
];
/** Keys of training settings that do not affect a merge. */
const WITHOUT_EFFECT: readonly string[] = [
  "task_type",
  "base_model_name_or_path",
  "revision",
  "inference_mode",
  "auto_mapping",
  "peft_version",
  "lora_dropout",
  "target_modules",
  "exclude_modules",
  "layers_to_transform",
  "layers_pattern",
  "megatron_core",
  // PEFT reads these settings only for certain values of `init_lora_weights`.
  "loftq_config",
  "eva_config",
  "corda_config",
  "lora_ga_config",
  // No effect without `use_qalora`.
  "qalora_group_size",
  "runtime_config",
  "ensure_weight_tying",
  "merge_weights",
  "unsloth_fixed",
];

/**
 * Parses an `adapter_config.json`. Refuses every key that is set and is not known to be plain LoRA.
 * Source: LoraConfig of https://github.com/huggingface/peft/blob/main/src/peft/tuners/lora/config.py
 * @throws FormatError, LinkError `malformed`, `unsupported`
 */
export function parsePeftConfig(text: string, adapter: string): PeftConfig {
  const json = parseStrictJson(text, `${adapter}/adapter_config.json`);
  if (!isObject(json)) throw loraError("malformed", adapter, "its adapter_config.json is not an object");
  return readPeftConfig(json, "adapter_config.json", adapter);
}

/**
 * Parses a config that is part of another file, in the same way.
 * @param where name of the place in errors
 * @throws LinkError `malformed`, `unsupported`
 */
export function readPeftConfig(
  json: Readonly<Record<string, unknown>>,
  where: string,
  adapter: string,
): PeftConfig {
  const refuse = (key: string, hint = MERGE_THERE): never => {
    const value = JSON.stringify(json[key]).slice(0, 60);
    throw loraError("unsupported", adapter, `its ${where} has ${key}: ${value}`, undefined, hint);
  };
  const malformed = (what: string): never => {
    throw loraError("malformed", adapter, `its ${where} has no ${what}`);
  };
  if (json.peft_type !== "LORA") refuse("peft_type");
  if ((json.bias ?? "none") !== "none") refuse("bias");
  const known = new Set([...READ, ...WITHOUT_EFFECT]);
  for (const [key, value] of Object.entries(json)) if (isSet(value) && !known.has(key)) refuse(key);
  if (!keepsBase(json.init_lora_weights)) refuse("init_lora_weights", CHANGED_BASE);
  const rank = json.r;
  if (!isCount(rank)) return malformed("rank r above 0");
  const alpha = json.lora_alpha;
  if (!isFinite(alpha)) return malformed("number lora_alpha");
  const flag = (key: string): boolean => {
    const value = json[key] ?? false;
    return typeof value === "boolean" ? value : malformed(`true or false ${key}`);
  };
  const saved = json.modules_to_save ?? [];
  if (!Array.isArray(saved) || saved.some((each) => typeof each !== "string")) {
    return malformed("list modules_to_save of names");
  }
  return {
    rank,
    alpha,
    rankPattern: modulePatterns(adapter, "rank_pattern", json.rank_pattern, isCount),
    alphaPattern: modulePatterns(adapter, "alpha_pattern", json.alpha_pattern, isFinite),
    rankStabilized: flag("use_rslora"),
    fanInFanOut: flag("fan_in_fan_out"),
    modulesToSave: saved as string[],
  };
}

const MERGE_THERE = "let PEFT merge it (merge_and_unload), and add the model that it saves";
const CHANGED_BASE =
  "Let PEFT merge it over the base that it was trained on, or save it as a LoRA for the plain base there " +
  "(save_pretrained with path_initial_model_for_weight_conversion)";

function keepsBase(start: unknown): boolean {
  if (start === undefined || start === null || typeof start === "boolean") return true;
  return typeof start === "string" && KEEPS_BASE.includes(start.toLowerCase());
}

function isSet(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return isObject(value) ? Object.keys(value).length > 0 : Boolean(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function isFinite(value: unknown): value is number {
  return Number.isFinite(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
