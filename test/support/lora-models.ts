import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { encodeGgufHeader } from "../../src/formats/gguf/write.ts";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { tensorBytes, type DType } from "../../src/tensor/dtype.ts";

/** A tensor of a small model; zeros unless given. */
export interface SmallTensor {
  readonly shape: readonly number[];
  readonly dtype?: DType;
  readonly bytes?: Uint8Array;
  readonly values?: readonly number[];
}

const TYPES: Partial<Record<DType, number>> = { float32: 0, float16: 1, q8_0: 8, int8: 24, float64: 28 };

/** Elements of float32 as bytes. */
export function float32Bytes(values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

function bytesOf({ shape, dtype = "float32", bytes, values }: SmallTensor): Uint8Array {
  if (values) return float32Bytes(values);
  return bytes ?? new Uint8Array(tensorBytes(dtype, shape) ?? 0);
}

/** Writes a GGUF file. */
export async function writeGguf(
  path: string,
  tensors: Readonly<Record<string, SmallTensor>>,
  metadata: Readonly<Record<string, string | number>> = {},
): Promise<string> {
  const all = { "general.architecture": "llama", ...metadata };
  const { bytes, offsets, size } = encodeGgufHeader({
    metadata: Object.entries(all).map(([key, value]) => {
      return typeof value === "string"
        ? ({ key, type: "string", value } as const)
        : ({ key, type: "float32", value } as const);
    }),
    tensors: Object.entries(tensors).map(([name, { shape, dtype = "float32" }]) => {
      return { name, shape, type: TYPES[dtype] as number };
    }),
  });
  const file = Buffer.alloc(size);
  file.set(bytes);
  Object.values(tensors).forEach((tensor, index) => file.set(bytesOf(tensor), offsets[index]));
  await writeFile(path, file);
  return path;
}

/** Writes a GGUF LoRA. */
export function writeGgufLora(
  path: string,
  tensors: Readonly<Record<string, SmallTensor>>,
  metadata: Readonly<Record<string, string | number>> = {},
): Promise<string> {
  const own = { "general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 2 };
  return writeGguf(path, tensors, { ...own, ...metadata });
}

/** Writes a LoRA as PEFT saves it. */
export async function writePeftLora(
  folder: string,
  tensors: Readonly<Record<string, SmallTensor>>,
  config: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, "adapter_config.json"),
    JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 4, bias: "none", ...config }),
  );
  await writeWeights(join(folder, "adapter_model.safetensors"), tensors);
  return folder;
}

/** Writes a safetensors file. */
export async function writeWeights(
  path: string,
  tensors: Readonly<Record<string, SmallTensor>>,
  metadata?: Readonly<Record<string, string>>,
): Promise<string> {
  const entries = Object.entries(tensors).map(([name, tensor]) => {
    return [name, { dtype: tensor.dtype ?? "float32", shape: tensor.shape, bytes: bytesOf(tensor) }] as const;
  });
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, writeSafetensors(Object.fromEntries(entries), metadata));
  return path;
}
