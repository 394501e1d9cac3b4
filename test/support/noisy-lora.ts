import { encodeGguf, type GgufMetadata, type GgufTensor } from "../../fixtures/charlm/rebuild-gguf.mjs";

/** A LoRA of rank 2 on two matrices of charlm that moves them somewhere. */
export function noisyLora(): Buffer {
  const metadata: GgufMetadata = [
    ["general.architecture", ["string", "llama"]],
    ["general.type", ["string", "adapter"]],
    ["adapter.type", ["string", "lora"]],
    ["adapter.lora.alpha", ["f32", 16]],
  ];
  const noise = (name: string, shape: readonly [number, number]): readonly [string, GgufTensor] => {
    const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, index) =>
      Math.sin(index * 7 + shape[0]),
    );
    return [name, { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) }];
  };
  return encodeGguf(
    metadata,
    ["blk.0.attn_q", "blk.1.attn_output"].flatMap((name) => [
      noise(`${name}.weight.lora_a`, [2, 192]),
      noise(`${name}.weight.lora_b`, [192, 2]),
    ]),
  );
}
