import { parseStrictJson } from "../encodings/json.ts";
import { TareError } from "../errors.ts";
import type { Method, Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { moduleName } from "./adapter.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** Values of `model_type` of Transformers whose {@link isConv1dName} modules, and no others, are `Conv1D`. */
const CONV1D_MODELS: readonly string[] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"];
/** Limit of a config.json. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/**
 * Whether a module has the name of a `Conv1D` module of GPT-2, which stores its weight as [in, out]. The name is not
 * enough evidence: other models (GPT-BigCode, Qwen, nanoGPT) use these names for linear layers.
 */
export function isConv1dName(module: string): boolean {
  return /(^|\.)(c_attn|q_attn|c_proj|c_fc)$/.test(module);
}

/**
 * Finds whether weights of a model are stored as [in, out] (true) or as [out, in] (false): from its format, from the
 * `model_type` of its config.json, from the length of the bias of a weight that is not square, and from other modules with
 * GPT-2's names. `undefined` if these do not show it.
 */
export async function orientationsOf(
  store: BlobReader,
  model: StoredModel,
  method: Method,
): Promise<(weight: Weight) => boolean | undefined> {
  // The converters of llama.cpp transpose weights that are stored as [in, out].
  if (model.config.format === "gguf") return () => false;
  const named = method.weights.filter((weight) => isConv1dName(moduleName(weight.name)));
  const type = named.length === 0 ? undefined : await modelTypeOf(store, model, method);
  if (type !== undefined && CONV1D_MODELS.includes(type)) {
    return ({ name, shape }) => shape.length === 2 && isConv1dName(moduleName(name));
  }
  const biases = new Map(method.weights.map((weight) => [weight.name, weight]));
  const alone = (weight: Weight): boolean | undefined => byBias(weight, biases) ?? byFusion(weight);
  const ways = new Set(named.map(alone).filter((way) => way !== undefined));
  const family = ways.size === 1 ? [...ways][0] : undefined;
  return (weight) => {
    // Kernel dimensions come last, so a convolution is [out, in].
    if (weight.shape.length > 2) return false;
    return alone(weight) ?? (isConv1dName(moduleName(weight.name)) ? family : undefined);
  };
}

/** Infers the orientation from the bias, whose length is the number of outputs. */
function byBias({ name, shape }: Weight, weights: ReadonlyMap<string, Weight>): boolean | undefined {
  const [rows, columns] = shape;
  const bias = name.endsWith(".weight") ? weights.get(`${moduleName(name)}.bias`) : undefined;
  const [length] = bias?.shape ?? [];
  if (shape.length !== 2 || bias?.shape.length !== 1 || rows === columns) return undefined;
  if (length === rows) return false;
  return length === columns ? true : undefined;
}

/** Infers the orientation from `c_attn`, which has more outputs than inputs: query, key and value. */
function byFusion({ name, shape }: Weight): boolean | undefined {
  const [rows = 0, columns = 0] = shape;
  if (shape.length !== 2 || rows === columns || !/(^|\.)c_attn$/.test(moduleName(name))) return undefined;
  return columns > rows;
}

/** Reads `model_type` from the config.json beside a method's file. */
async function modelTypeOf(
  store: BlobReader,
  { name, config }: StoredModel,
  method: Method,
): Promise<string | undefined> {
  const path = config.files[method.file]?.path ?? "";
  const wanted = `${path.slice(0, path.lastIndexOf("/") + 1)}config.json`;
  const file = config.files.find((each) => each.path === wanted);
  if (!file || file.size > MAX_CONFIG_BYTES) return undefined;
  const text = new TextDecoder().decode(await readBlob(store, file.skeleton));
  try {
    const json = parseStrictJson(text, `${name}/${wanted}`);
    const type = (json as { readonly model_type?: unknown } | null)?.model_type;
    return typeof type === "string" ? type : undefined;
  } catch (error) {
    // An invalid config.json is no evidence.
    if (error instanceof TareError) return undefined;
    throw error;
  }
}
