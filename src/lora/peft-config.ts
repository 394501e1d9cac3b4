import { parseStrictJson } from "../encodings/json.ts";
import { loraError } from "./lora-matrices.ts";

/** What PEFT's `adapter_config.json` says, as far as merging depends on it. */
export interface PeftConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** Scale by alpha / √rank instead of alpha / rank. */
  readonly rankStabilized: boolean;
  readonly fanInFanOut: boolean;
}

/** Ways to start training that change the base too: the adapter then fits only that changed base. */
const CHANGES_BASE = /^(pissa|olora|corda|loftq)/;

/**
 * Checks an `adapter_config.json`, and refuses by name what is more than LoRA.
 * Source: LoraConfig of https://github.com/huggingface/peft/blob/main/src/peft/tuners/lora/config.py
 * @throws FormatError, LinkError `malformed`, `unsupported`
 */
export function parsePeftConfig(text: string, adapter: string): PeftConfig {
  const json = parseStrictJson(text, `${adapter}/adapter_config.json`);
  if (!isObject(json)) throw loraError("malformed", adapter, "its adapter_config.json is not an object");
  const refuse = (key: string): never => {
    const value = JSON.stringify(json[key]).slice(0, 60);
    const hint = "let PEFT merge it (merge_and_unload), and add the model that it saves";
    throw loraError("unsupported", adapter, `its adapter_config.json has ${key}: ${value}`, undefined, hint);
  };
  if (json.peft_type !== "LORA") refuse("peft_type");
  if ((json.bias ?? "none") !== "none") refuse("bias");
  for (const key of MORE_THAN_LORA) if (isSet(json[key])) refuse(key);
  const start = json.init_lora_weights;
  if (typeof start === "string" && CHANGES_BASE.test(start)) refuse("init_lora_weights");
  const rank = json.r;
  if (!isCount(rank)) throw loraError("malformed", adapter, "its adapter_config.json has no rank r above 0");
  const alpha = json.lora_alpha;
  if (typeof alpha !== "number" || !Number.isFinite(alpha)) {
    throw loraError("malformed", adapter, "its adapter_config.json has no number lora_alpha");
  }
  return {
    rank,
    alpha,
    rankPattern: patternOf(adapter, json, "rank_pattern", isCount),
    alphaPattern: patternOf(adapter, json, "alpha_pattern", Number.isFinite),
    rankStabilized: json.use_rslora === true,
    fanInFanOut: json.fan_in_fan_out === true,
  };
}

/** Keys that, set to anything but nothing, make the adapter more than pairs of matrices. */
const MORE_THAN_LORA: readonly string[] = [
  "use_dora",
  "lora_bias",
  "modules_to_save",
  "layer_replication",
  "trainable_token_indices",
  "target_parameters",
  "alora_invocation_tokens",
  "use_qalora",
  "use_bdlora",
];

/** A number for a module: that of the first pattern that names its end, else the one for all. */
export function forModule(patterns: Readonly<Record<string, number>>, module: string, all: number): number {
  for (const [pattern, value] of Object.entries(patterns)) {
    const name = pattern.replace(/^\^/, "");
    if (module === name || (name === pattern && module.endsWith(`.${name}`))) return value;
  }
  return all;
}

/** Patterns may be regular expressions; those that are more than a name are refused, as an expression can be endless. */
function patternOf(
  adapter: string,
  json: Readonly<Record<string, unknown>>,
  key: string,
  isValue: (value: unknown) => boolean,
): Record<string, number> {
  const value = json[key] ?? {};
  if (!isObject(value)) throw loraError("malformed", adapter, `its ${key} is not an object`);
  for (const [pattern, each] of Object.entries(value)) {
    const named = `its ${key} has "${pattern.slice(0, 80)}"`;
    if (!/^\^?[\w.-]+$/.test(pattern)) {
      throw loraError("unsupported", adapter, `${named}, a regular expression`);
    }
    if (!isValue(each)) throw loraError("malformed", adapter, `${named}: ${JSON.stringify(each)}`);
  }
  return value as Record<string, number>;
}

function isSet(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return isObject(value) ? Object.keys(value).length > 0 : Boolean(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
