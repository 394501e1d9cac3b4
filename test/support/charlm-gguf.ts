import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A value of GGUF metadata, with its type. */
export type GgufValue =
  | readonly ["u16" | "u32" | "i32" | "f32", number]
  | readonly ["bool", boolean]
  | readonly ["string", string]
  | readonly ["strings", readonly string[]]
  | readonly ["f32s" | "i32s", readonly number[]];

/** Pairs, since keys may stand twice in a malformed file. */
export type GgufMetadata = readonly (readonly [key: string, value: GgufValue])[];

/** A tensor, its shape outermost first. */
export interface GgufTensor {
  readonly dtype: "F16" | "F32";
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

const SHA256 = {
  base: "ee6917a19ba082054e14264c7af76c15fe4bf31eafcfc25089952e287da8dc1c",
  kjv: "50e64305670b2873181e0facd08e243b5fe2e9cba0750f3c4a8354cbd8d9442e",
  licence: "1aa36c8fd3511a3139ede884c9272b129465b08ded9afe0dff5db5382695c4f8",
} as const;

/** A model of the family. */
export type CharlmModel = keyof typeof SHA256;

const FIXTURES = fileURLToPath(new URL("../../fixtures/charlm", import.meta.url));
const BUILT = fileURLToPath(new URL("../../build/fixtures/charlm-gguf", import.meta.url));

/**
 * Path of a charlm model as a GGUF file, built if need be: `kjv-f16.gguf`, byte for byte as the training wrote it.
 * All tests share it: do not write to it.
 */
export async function charlmGguf(model: CharlmModel): Promise<string> {
  const path = join(BUILT, `${model}-f16.gguf`);
  const known = await readFile(path).catch(() => undefined);
  if (known && sha256(known) === SHA256[model]) return path;
  const bytes = encodeGguf(await charlmMetadata(model), [...(await charlmTensors(model))]);
  if (sha256(bytes) !== SHA256[model]) {
    throw new Error(`Cannot build ${path}: its sha256 is ${sha256(bytes)} instead of ${SHA256[model]}`);
  }
  await mkdir(BUILT, { recursive: true });
  const temporary = `${path}.${randomUUID()}.tmp`;
  await writeFile(temporary, bytes);
  await rename(temporary, path);
  return path;
}

/** What a charlm GGUF file says beside its tensors. */
export async function charlmMetadata(model: CharlmModel): Promise<GgufMetadata> {
  const file = await readFile(join(FIXTURES, "tokenizer.json"), "utf8");
  const { tokens } = JSON.parse(file) as { tokens: string[] };
  return [
    ["general.architecture", ["string", "llama"]],
    ["general.name", ["string", `charlm-${model}`]],
    ["general.file_type", ["u32", 1]],
    ["llama.context_length", ["u32", 128]],
    ["llama.embedding_length", ["u32", 192]],
    ["llama.block_count", ["u32", 5]],
    ["llama.feed_forward_length", ["u32", 512]],
    ["llama.attention.head_count", ["u32", 6]],
    ["llama.attention.head_count_kv", ["u32", 3]],
    ["llama.attention.layer_norm_rms_epsilon", ["f32", 1e-5]],
    ["llama.rope.dimension_count", ["u32", 32]],
    ["llama.rope.freq_base", ["f32", 10_000]],
    ["llama.vocab_size", ["u32", tokens.length]],
    ["tokenizer.ggml.model", ["string", "llama"]],
    ["tokenizer.ggml.tokens", ["strings", tokens.map((token) => (token === " " ? "\u2581" : token))]],
    ["tokenizer.ggml.scores", ["f32s", tokens.map(() => 0)]],
    ["tokenizer.ggml.token_type", ["i32s", [2, 3, 3, 6, ...tokens.slice(4).map(() => 1)]]],
    ["tokenizer.ggml.bos_token_id", ["u32", 1]],
    ["tokenizer.ggml.eos_token_id", ["u32", 2]],
    ["tokenizer.ggml.unknown_token_id", ["u32", 0]],
    ["tokenizer.ggml.add_bos_token", ["bool", true]],
    ["tokenizer.ggml.add_space_prefix", ["bool", false]],
  ];
}

/** A charlm model's tensors by name, in the order of its files. */
export async function charlmTensors(model: CharlmModel): Promise<Map<string, GgufTensor>> {
  const tensors = new Map<string, GgufTensor>();
  // A name that is there already keeps its place.
  for (const name of new Set(["base", model])) {
    const file = await readFile(join(FIXTURES, `${name}.safetensors`));
    const start = 8 + Number(file.readBigUInt64LE(0));
    const { __metadata__, ...entries } = JSON.parse(file.toString("utf8", 8, start)) as Record<
      string,
      { dtype: "F16" | "F32"; shape: number[]; data_offsets: [number, number] }
    >;
    for (const [key, { dtype, shape, data_offsets: at }] of Object.entries(entries)) {
      tensors.set(key, { dtype, shape, bytes: file.subarray(start + at[0], start + at[1]) });
    }
  }
  return tensors;
}

/** Writes a GGUF file (version 3, alignment 32), whatever sense it makes. */
export function encodeGguf(
  metadata: GgufMetadata,
  tensors: readonly (readonly [name: string, tensor: GgufTensor])[],
): Buffer {
  let offset = 0;
  const data: Buffer[] = [];
  const infos = tensors.map(([name, { dtype, shape, bytes }]) => {
    const dims = Buffer.concat([...shape].reverse().map((size) => number("u64", size)));
    const info = [
      string(name),
      number("u32", shape.length),
      dims,
      number("u32", dtype === "F16" ? 1 : 0),
      number("u64", offset),
    ];
    const padded = pad(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    offset += padded.byteLength;
    data.push(padded);
    return Buffer.concat(info);
  });
  const counts = [number("u32", 3), number("u64", tensors.length), number("u64", metadata.length)];
  const pairs = metadata.map(([key, value]) => Buffer.concat([string(key), encodeValue(value)]));
  return Buffer.concat([pad(Buffer.concat([Buffer.from("GGUF"), ...counts, ...pairs, ...infos])), ...data]);
}

/** Ids of types of metadata. */
const TYPE = { u16: 2, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

function encodeValue(value: GgufValue): Buffer {
  const array = (type: number, items: readonly Buffer[]): Buffer =>
    Buffer.concat([number("u32", TYPE.array), number("u32", type), number("u64", items.length), ...items]);
  switch (value[0]) {
    case "string":
      return Buffer.concat([number("u32", TYPE.string), string(value[1])]);
    case "strings":
      return array(TYPE.string, value[1].map(string));
    case "f32s":
      return array(
        TYPE.f32,
        value[1].map((item) => number("f32", item)),
      );
    case "i32s":
      return array(
        TYPE.i32,
        value[1].map((item) => number("i32", item)),
      );
    case "bool":
      return Buffer.concat([number("u32", TYPE.bool), Buffer.of(value[1] ? 1 : 0)]);
    default:
      return Buffer.concat([number("u32", TYPE[value[0]]), number(value[0], value[1])]);
  }
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([number("u64", bytes.byteLength), bytes]);
}

function number(type: "u16" | "u32" | "i32" | "f32" | "u64", value: number): Buffer {
  const bytes = Buffer.alloc({ u16: 2, u32: 4, i32: 4, f32: 4, u64: 8 }[type]);
  if (type === "u16") bytes.writeUInt16LE(value);
  else if (type === "u32") bytes.writeUInt32LE(value);
  else if (type === "i32") bytes.writeInt32LE(value);
  else if (type === "f32") bytes.writeFloatLE(value);
  else bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.byteLength & 31)]);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
