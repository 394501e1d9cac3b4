/** Tensors of a .safetensors file in memory, by name: a state dict. */
import { readFileSync } from "node:fs";

export function parseSafetensors(path) {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString("utf8", 8, start));
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        return [name, { dtype: "float32", shape, bytes: file.subarray(start + from, start + to) }];
      },
    ),
  );
}
