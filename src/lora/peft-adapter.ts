import type { StoredModel } from "../model/stored-model.ts";
import { type LoraAdapter, type LoraPair, shapeText } from "./adapter.ts";
import {
  checkMatrices,
  type LoraMatrices,
  loraError,
  type NameMatrix,
  pairMatrices,
} from "./lora-matrices.ts";
import { forModule, parsePeftConfig, type PeftConfig } from "./peft-config.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** The file beside a PEFT adapter's weights that says what they are. */
export const PEFT_CONFIG = "adapter_config.json";
/** What PEFT puts before the names of the model that it wraps. */
const WRAPPER = "base_model.model.";

/**
 * Reads a LoRA as PEFT saves it: a folder of `adapter_model.safetensors` and `adapter_config.json`. Of the weights
 * nothing is read.
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
  const text = new TextDecoder().decode(await readBlob(store, file.rest));
  const settings = parsePeftConfig(text, name);
  const weights = config.methods.flatMap((method) => method.weights);
  const pairs = pairMatrices(name, weights, nameHalf).map((each) => pairOf(name, each, settings));
  return { model, layout: "peft", architecture: undefined, pairs };
}

/** `MODULE.lora_A.weight`, `MODULE.lora_A.ADAPTER.weight`, `MODULE.lora_embedding_A`, and the same with B. */
const nameHalf: NameMatrix = (name) => {
  const [, path, embedding, half, end = ""] =
    /^(.+)\.lora_(embedding_)?([AB])((?:\.[^.]+)*)$/s.exec(name) ?? [];
  if (path === undefined) return undefined;
  if (!(embedding ? /^(\.[^.]+)?(\.weight)?$/ : /^(\.[^.]+)?\.weight$/).test(end)) return undefined;
  const module = path.startsWith(WRAPPER) ? path.slice(WRAPPER.length) : path;
  return { module, half: half === "A" ? "a" : "b", embedding: embedding !== undefined };
};

function pairOf(adapter: string, halves: LoraMatrices, settings: PeftConfig): LoraPair {
  const { module, embedding, a, b } = halves;
  const rank = checkMatrices(adapter, halves, 0, 1);
  const said = forModule(settings.rankPattern, module, settings.rank);
  if (said !== rank) {
    const reason = `adapter_config.json says rank ${said} for "${module}", A is ${shapeText(a.shape)}`;
    throw loraError("mismatch", adapter, reason, a.name);
  }
  const alpha = forModule(settings.alphaPattern, module, settings.alpha);
  const scaling = alpha / (settings.rankStabilized ? Math.sqrt(rank) : rank);
  const [columnsOfA, rowsOfB] = [a.shape[1] as number, b.shape[0] as number];
  const common = { module, rank, alpha, scaling, fanInFanOut: settings.fanInFanOut && !embedding };
  return embedding
    ? {
        ...common,
        shape: [columnsOfA, rowsOfB],
        left: { weight: a, transposed: true },
        right: { weight: b, transposed: true },
      }
    : {
        ...common,
        shape: [rowsOfB, columnsOfA],
        left: { weight: b, transposed: false },
        right: { weight: a, transposed: false },
      };
}
