/** A checkpoint and an MLIR program over it, of any size. */
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";

/** Sixteen weights of float32, named as layers are. @returns the file's size in bytes, and rows of each */
export function generateCheckpoint(path, bytes) {
  const rows = Math.round(bytes / 16 / 4 / 4096);
  const length = rows * 4096 * 4;
  const tensors = Object.fromEntries(
    Array.from({ length: 16 }, (_, nth) => {
      return [
        name(nth),
        { dtype: "F32", shape: [rows, 4096], data_offsets: [nth * length, (nth + 1) * length] },
      ];
    }),
  );
  const json = Buffer.from(JSON.stringify(tensors).padEnd(2040));
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, "w");
  writeSync(file, head);
  writeSync(file, json);
  const block = new Float32Array(1 << 20);
  let state = 1;
  for (let at = 0; at < block.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    block[at] = state / 2 ** 32 - 0.5;
  }
  for (let left = 16 * length; left > 0; left -= block.byteLength) {
    block[left % 1013] += 1;
    writeSync(file, new Uint8Array(block.buffer, 0, Math.min(left, block.byteLength)));
  }
  closeSync(file);
  return { bytes: 8 + json.length + 16 * length, rows };
}

/** A program that uses every weight of a checkpoint of this size, without their bytes. */
export function generateProgram(path, rows) {
  const type = `tensor<${rows}x4096xf32>`;
  const lines = Array.from({ length: 16 }, (_, nth) => {
    return `    %${nth} = arith.constant dense_resource<${name(nth)}> : ${type}`;
  });
  const all = Array.from({ length: 16 }, (_, nth) => `%${nth}`).join(", ");
  const types = Array.from({ length: 16 }, () => type).join(", ");
  const text = `module {\n  func.func @main() -> (${types}) {\n${lines.join("\n")}\n    return ${all} : ${types}\n  }\n}\n`;
  writeFileSync(path, text);
}

function name(nth) {
  return `layer.${nth}.weight`;
}
