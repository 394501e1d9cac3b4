import { parseStrictJson } from "../encodings/json.ts";
import { TareError } from "../errors.ts";
import type { Method, Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { moduleName } from "./adapter.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** Models of Transformers whose {@link isConv1dName} modules are of its class `Conv1D`, and all others are not. */
const CONV1D_MODELS: readonly string[] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"];
/** A larger config.json is none. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/**
 * Whether a module has a name that GPT-2 gives to its `Conv1D`, which keeps its weight as [in, out]. Others give these
 * names to linear layers (GPT-BigCode, Qwen, nanoGPT), so the name alone does not say it.
 */
export function isConv1dName(module: string): boolean {
  return /(^|\.)(c_attn|q_attn|c_proj|c_fc)$/.test(module);
}

/**
 * Says of a model's weights whether they are stored as [in, out] (true) or as [out, in] (false), as far as the model
 * shows it: by its format, by the `model_type` of its config.json, by the length of a bias beside a weight that is not
 * square, and by the other modules of GPT-2's names. `undefined` where nothing shows it.
 */
export async function orientationsOf(
  store: BlobReader,
  model: StoredModel,
  method: Method,
): Promise<(weight: Weight) => boolean | undefined> {
  // llama.cpp's converters turn what is stored as [in, out].
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
    // The kernel of a convolution stands last, so it is [out, in].
    if (weight.shape.length > 2) return false;
    return alone(weight) ?? (isConv1dName(moduleName(weight.name)) ? family : undefined);
  };
}

/** A bias has the length of what comes out. */
function byBias({ name, shape }: Weight, weights: ReadonlyMap<string, Weight>): boolean | undefined {
  const [rows, columns] = shape;
  const bias = name.endsWith(".weight") ? weights.get(`${moduleName(name)}.bias`) : undefined;
  const [length] = bias?.shape ?? [];
  if (shape.length !== 2 || bias?.shape.length !== 1 || rows === columns) return undefined;
  if (length === rows) return false;
  return length === columns ? true : undefined;
}

/** `c_attn` is query, key and value in one: more comes out of it than goes in. */
function byFusion({ name, shape }: Weight): boolean | undefined {
  const [rows = 0, columns = 0] = shape;
  if (shape.length !== 2 || rows === columns || !/(^|\.)c_attn$/.test(moduleName(name))) return undefined;
  return columns > rows;
}

/** `model_type` of the config.json beside a method's file. */
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
    // A config.json that is no JSON says nothing.
    if (error instanceof TareError) return undefined;
    throw error;
  }
}
