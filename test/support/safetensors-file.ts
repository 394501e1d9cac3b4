/** Makes a safetensors file of uint8 tensors of one length, with different bytes each. */
export function safetensorsFile(
  names: readonly string[],
  length = 4,
  shape: readonly number[] = [length],
): Buffer {
  const header = Object.fromEntries(
    names.map((name, at) => [name, { dtype: "U8", shape, data_offsets: [at * length, (at + 1) * length] }]),
  );
  const json = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(json.byteLength));
  const data = Buffer.from(Array.from({ length: names.length * length }, (_, at) => (at * 7) % 251));
  return Buffer.concat([start, json, data]);
}
