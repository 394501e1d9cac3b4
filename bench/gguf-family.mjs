/**
 * Generates a family of GGUF models of the llama architecture with random weights: a foundation, and fine-tunes that
 * have the feed-forward part of the last layer and all norms for themselves. And a LoRA for them.
 */
import { createCipheriv } from "node:crypto";
import { closeSync, existsSync, openSync, renameSync, writeSync } from "node:fs";
import { ggufArray } from "../dist/formats/gguf/write-metadata.js";
import { encodeGgufHeader } from "../dist/formats/gguf/write.js";
import { float16Bits } from "../dist/tensor/float16.js";

/** Types by name: ggml's number, elements and bytes of a block. */
const TYPES = { F32: [0, 1, 4], F16: [1, 1, 2], Q4_0: [2, 32, 18], Q8_0: [8, 32, 34] };
/** Blocks of random data: tensors are taken from it, each from another place. */
const TABLE_BLOCKS = { F32: 1 << 16, F16: (1 << 22) + 3, Q4_0: (1 << 18) + 3, Q8_0: (1 << 18) + 3 };
const RANK = 16;

/**
 * Writes `NAME.gguf` for each model, unless it is there.
 * @returns {{name: string, path: string, weightBytes: number, ownBytes: number}[]}
 */
export function generateGgufFamily(folder, { type, models, layers, width }) {
  const specs = tensorsOf(layers, width);
  return Array.from({ length: models }, (_, index) => {
    const name = `model-${index}`;
    const own = (tensor) => tensor.norm || isLastFeed(tensor, layers);
    const tensors = specs.map((tensor, nth) => {
      const dtype = tensor.norm ? "F32" : type;
      return { ...tensor, dtype, seed: own(tensor) ? (index + 1) * 1000 + nth : nth };
    });
    const path = `${folder}/${name}.gguf`;
    writeOnce(path, metadataOf(name, layers, width), tensors);
    const ownBytes = sum(tensors.filter(own).map(bytesOf));
    return { name, path, weightBytes: sum(tensors.map(bytesOf)), ownBytes };
  });
}

/**
 * Writes a LoRA of rank 16 over the matrices of attention in every layer.
 * @returns {{name: string, path: string, weightBytes: number}}
 */
export function generateLora(folder, { layers, width }) {
  const metadata = [
    entry("general.architecture", "string", "llama"),
    entry("general.type", "string", "adapter"),
    entry("general.name", "string", "lora"),
    entry("adapter.type", "string", "lora"),
    entry("adapter.lora.alpha", "float32", RANK),
  ];
  const tensors = tensorsOf(layers, width)
    .filter(({ name }) => isTarget(name))
    .flatMap(({ name, shape: [rows, columns] }, nth) => [
      { name: `${name}.lora_a`, shape: [RANK, columns], dtype: "F16", seed: 50_000 + 2 * nth },
      { name: `${name}.lora_b`, shape: [rows, RANK], dtype: "F16", seed: 50_001 + 2 * nth },
    ]);
  const path = `${folder}/lora.gguf`;
  writeOnce(path, metadata, tensors);
  return { name: "lora", path, weightBytes: sum(tensors.map(bytesOf)) };
}

/** Whether the LoRA changes a tensor. */
function isTarget(name) {
  return /\.attn_(q|k|v|output)\.weight$/.test(name);
}

function isLastFeed({ name }, layers) {
  return name.startsWith(`blk.${layers - 1}.ffn`);
}

/** Tensors of a model in the order of their file; shapes outermost first. */
function tensorsOf(layers, width) {
  const vocabulary = vocabularyOf().tokens.length;
  const wide = width / 4;
  // As in a 1.1B llama: 2048 and 5632.
  const inner = (width * 11) / 4;
  const matrix = (name, rows, columns) => ({ name: `${name}.weight`, shape: [rows, columns] });
  const norm = (name) => ({ name: `${name}.weight`, shape: [width], norm: true });
  return [
    matrix("token_embd", vocabulary, width),
    ...Array.from({ length: layers }, (_, layer) => {
      const at = (part) => `blk.${layer}.${part}`;
      return [
        norm(at("attn_norm")),
        matrix(at("attn_q"), width, width),
        matrix(at("attn_k"), wide, width),
        matrix(at("attn_v"), wide, width),
        matrix(at("attn_output"), width, width),
        norm(at("ffn_norm")),
        matrix(at("ffn_gate"), inner, width),
        matrix(at("ffn_up"), inner, width),
        matrix(at("ffn_down"), width, inner),
      ];
    }).flat(),
    norm("output_norm"),
    matrix("output", vocabulary, width),
  ];
}

function metadataOf(name, layers, width) {
  const { tokens, types } = vocabularyOf();
  const heads = width / 64;
  const array = (key, type, items) => entry(key, "array", ggufArray(type, items));
  return [
    entry("general.architecture", "string", "llama"),
    entry("general.name", "string", name),
    entry("llama.context_length", "uint32", 2048),
    entry("llama.embedding_length", "uint32", width),
    entry("llama.block_count", "uint32", layers),
    entry("llama.feed_forward_length", "uint32", (width * 11) / 4),
    entry("llama.attention.head_count", "uint32", heads),
    entry("llama.attention.head_count_kv", "uint32", heads / 4),
    entry("llama.attention.layer_norm_rms_epsilon", "float32", Math.fround(1e-5)),
    entry("llama.rope.dimension_count", "uint32", 64),
    entry("llama.vocab_size", "uint32", tokens.length),
    entry("tokenizer.ggml.model", "string", "llama"),
    array("tokenizer.ggml.tokens", "string", tokens),
    array(
      "tokenizer.ggml.scores",
      "float32",
      tokens.map(() => 0),
    ),
    array("tokenizer.ggml.token_type", "int32", types),
    entry("tokenizer.ggml.bos_token_id", "uint32", 1),
    entry("tokenizer.ggml.eos_token_id", "uint32", 2),
    entry("tokenizer.ggml.unknown_token_id", "uint32", 0),
  ];
}

/** A small SentencePiece vocabulary: what begins and ends a text, all bytes, the letters. */
function vocabularyOf() {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const letters = [..."\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:;!?'-0123"];
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...letters.slice(0, 61)];
  return { tokens, types: [2, 3, 3, ...bytes.map(() => 6), ...tokens.slice(259).map(() => 1)] };
}

function writeOnce(path, metadata, tensors) {
  if (existsSync(path)) return;
  const { bytes, offsets, size } = encodeGgufHeader({
    metadata,
    tensors: tensors.map(({ name, shape, dtype }) => ({ name, shape, type: TYPES[dtype][0] })),
  });
  const fd = openSync(`${path}.part`, "w");
  writeSync(fd, bytes, 0, bytes.length, 0);
  tensors.forEach((tensor, nth) => writeTensor(fd, offsets[nth], tensor));
  const end = offsets.at(-1) + bytesOf(tensors.at(-1));
  if (size > end) writeSync(fd, Buffer.alloc(size - end), 0, size - end, end);
  closeSync(fd);
  renameSync(`${path}.part`, path);
}

/** Fills a tensor from its type's table, from a place of its own on. */
function writeTensor(fd, offset, tensor) {
  const { dtype, seed } = tensor;
  const table = tableOf(dtype);
  const [, , blockBytes] = TYPES[dtype];
  let at = ((seed * 7919 * 31) % TABLE_BLOCKS[dtype]) * blockBytes;
  for (let written = 0, length = bytesOf(tensor); written < length; ) {
    const count = Math.min(length - written, table.length - at);
    writeSync(fd, table, at, count, offset + written);
    written += count;
    at = 0;
  }
}

const tables = new Map();

/** Random blocks of a type: numbers around 1 for norms, else of about 0.02, as trained weights are. */
function tableOf(dtype) {
  const known = tables.get(dtype);
  if (known) return known;
  const count = TABLE_BLOCKS[dtype];
  const [, , blockBytes] = TYPES[dtype];
  const table = Buffer.alloc(count * blockBytes);
  // The same in every run, so that a family begun before goes on.
  const random = createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(table);
  const number = (index) => random[index % random.length] / 128 - 1;
  for (let block = 0; block < count; block++) {
    const at = block * blockBytes;
    if (dtype === "F32") table.writeFloatLE(1 + number(at) / 10, at);
    else if (dtype === "F16") table.writeUInt16LE(float16Bits(number(at) * 0.035), at);
    else {
      // A scale, then the numbers: -128 to 127, or 0 to 15 with 8 for zero.
      const scale = (0.035 / (dtype === "Q8_0" ? 127 : 8)) * (1 + number(at) / 4);
      table.writeUInt16LE(float16Bits(scale), at);
      table.set(random.subarray(at + 2, at + blockBytes), at + 2);
    }
  }
  tables.set(dtype, table);
  return table;
}

function bytesOf({ shape, dtype }) {
  const [, blockElements, blockBytes] = TYPES[dtype];
  return (shape.reduce((product, size) => product * size, 1) / blockElements) * blockBytes;
}

function entry(key, type, value) {
  return { key, type, value };
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
