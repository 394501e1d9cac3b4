import { parseGgufHeader } from "../formats/gguf/parse.ts";
import { findEntry, type GgufMetadata } from "../formats/gguf/values.ts";
import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { type LoraAdapter, type LoraPair, moduleName, plainModule, someNames } from "./adapter.ts";
import {
  checkMatrices,
  type LoraMatrices,
  loraError,
  type NameMatrix,
  pairMatrices,
} from "./lora-matrices.ts";
import type { BlobReader } from "../store/store.ts";
import { readBlob } from "../store/read-blob.ts";

/** Name of the embedding, whose rows llama.cpp reads: its A and B are exchanged. */
const EMBEDDING = "token_embd";
/** Names that llama.cpp treats as norms and ignores, because norms have no LoRA pair. */
const NORM = "_norm.weight";

/**
 * Reads a LoRA of llama.cpp: `NAME.lora_a` and `NAME.lora_b` for each weight NAME, and alpha in the metadata. Reads only
 * the header.
 * Source: convert_lora_to_gguf.py and llama-adapter.cpp of llama.cpp
 * @throws LinkError for an incomplete adapter, or one of another kind
 */
export async function ggufAdapter(store: BlobReader, model: StoredModel): Promise<LoraAdapter> {
  const { metadata } = await ggufHeaderOf(store, model);
  const text = (key: string): string | undefined => {
    const value = findEntry(metadata, key)?.value;
    return typeof value === "string" ? value : undefined;
  };
  if (text("general.type") !== "adapter") {
    throw loraError("unsupported", model.name, 'its "general.type" is not "adapter"');
  }
  if (text("adapter.type") !== "lora") {
    throw loraError("unsupported", model.name, 'its "adapter.type" is not "lora"');
  }
  const alpha = alphaOf(model.name, metadata);
  const all = model.config.methods.flatMap((method) => method.weights);
  const norms = all.filter((weight) => weight.name.endsWith(NORM));
  const weights = all.filter((weight) => !weight.name.endsWith(NORM));
  const pairs = pairMatrices(model.name, weights, nameMatrix).map((each) => pairOf(model.name, each, alpha));
  const architecture = text("general.architecture");
  return { model, layout: "gguf", architecture, pairs, copies: [], notes: notesOf(norms) };
}

/** Reads the metadata of a GGUF model of the store, from the skeleton of its first file. */
export async function ggufHeaderOf(
  store: BlobReader,
  model: StoredModel,
): Promise<{ readonly metadata: GgufMetadata }> {
  const file = model.config.files[model.config.methods[0]?.file ?? 0];
  const header =
    file && parseGgufHeader(await readBlob(store, file.skeleton), { name: file.path, size: file.size });
  if (header) return header;
  throw loraError("mismatch", model.name, "its program is not a GGUF header");
}

function notesOf(norms: readonly Weight[]): string[] {
  if (norms.length === 0) return [];
  const are = norms.length === 1 ? "is left out" : "are left out";
  return [
    `${someNames(norms.map((weight) => weight.name))} ${are}, as llama.cpp does: norms have no LoRA pair`,
  ];
}

const nameMatrix: NameMatrix = (name) => {
  const [, target, matrix] = /^(.+)\.lora_([ab])$/s.exec(name) ?? [];
  if (target === undefined) return undefined;
  const module = moduleName(target);
  return { module, matrix: matrix as "a" | "b", embedding: module === EMBEDDING };
};

function alphaOf(adapter: string, metadata: GgufMetadata): number {
  const entry = findEntry(metadata, "adapter.lora.alpha");
  if (entry?.type === "float32" && Number.isFinite(entry.value)) return entry.value as number;
  const is = entry ? "is not a finite float32" : "is missing";
  throw loraError("malformed", adapter, `its "adapter.lora.alpha" ${is}`);
}

function pairOf(adapter: string, matrices: LoraMatrices, alpha: number): LoraPair {
  const { module, embedding, a, b } = matrices;
  const rank = checkMatrices(adapter, matrices, embedding ? 1 : 0, 1);
  const scaling = alpha === 0 ? 1 : alpha / rank;
  const common = { ...plainModule(module), rank, alpha, scaling, embedding, fanInFanOut: false };
  const outer = (embedding ? a : b).shape[0] as number;
  const inner = (embedding ? b.shape[0] : a.shape[1]) as number;
  return embedding
    ? {
        ...common,
        shape: [outer, inner],
        left: { weight: a, transposed: false },
        right: { weight: b, transposed: true },
      }
    : {
        ...common,
        shape: [outer, inner],
        left: { weight: b, transposed: false },
        right: { weight: a, transposed: false },
      };
}
