/** Generates a family of 4-bit models with external data: a foundation, and fine-tunes that change the last tenth. */
import { randomFillSync } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  encodeInitializer,
  encodeInput,
  encodeOpset,
  encodeOutput,
  encodeTensor,
} from "../dist/formats/onnx/encode.js";

const BYTES = WireType.LengthDelimited;
const BLOCK = 32;
/** A float MatMul after so many layers. */
const FLOAT_EVERY = 8;

/**
 * Residual layers of LayerNorm → MatMulNBits → Add, [width, width] in 4 bits each (accuracy level 4, blocks of 32), and
 * after each eighth two float MatMuls, down to 64 and up again: 60 of 4096 make 645 MB.
 * @returns {{name: string, folder: string, weightBytes: number, ownBytes: number}[]} one folder a model
 */
export function generateQuantizedFamily(root, { models, layers, width, own }) {
  return Array.from({ length: models }, (_, index) => {
    const name = `model-${index}`;
    const folder = `${root}/${name}`;
    const isOwn = (layer) => layer >= layers * (1 - own);
    const seedOf = (layer) => (isOwn(layer) ? index * layers + layer + 1 : layer + 1);
    const tensors = [];
    const nodes = [];
    let value = "x";
    for (let layer = 0; layer < layers; layer++) {
      const at = (part) => `layer.${layer}.${part}`;
      const seed = seedOf(layer);
      const add = (part, dtype, shape, bytes) => {
        tensors.push({ name: at(part), dtype, shape, bytes, seed, own: isOwn(layer) });
        return at(part);
      };
      const norm = add("norm", "float32", [width], width * 4);
      const matrix = add("weight", "uint8", [width, width / BLOCK, BLOCK / 2], (width * width) / 2);
      const scales = add("scales", "float32", [width, width / BLOCK], (width * width * 4) / BLOCK);
      nodes.push(node("LayerNormalization", [value, norm], [`n.${layer}`]));
      const attributes = { K: width, N: width, bits: 4, block_size: BLOCK, accuracy_level: 4 };
      nodes.push(
        node("MatMulNBits", [`n.${layer}`, matrix, scales], [`m.${layer}`], "com.microsoft", attributes),
      );
      nodes.push(node("Add", [value, `m.${layer}`], [`h.${layer}`]));
      value = `h.${layer}`;
      if (layer % FLOAT_EVERY !== FLOAT_EVERY - 1) continue;
      const down = add("down", "float32", [width, 64], width * 64 * 4);
      const up = add("up", "float32", [64, width], width * 64 * 4);
      nodes.push(
        node("MatMul", [value, down], [`d.${layer}`]),
        node("MatMul", [`d.${layer}`, up], [`f.${layer}`]),
      );
      value = `f.${layer}`;
    }
    const sum = (list) => list.reduce((total, { bytes }) => total + bytes, 0);
    const model = {
      name,
      folder,
      weightBytes: sum(tensors),
      ownBytes: sum(tensors.filter((each) => each.own)),
    };
    if (!existsSync(`${folder}/model.onnx`)) write(folder, tensors, nodes, value);
    return model;
  });
}

function write(folder, tensors, nodes, output) {
  mkdirSync(folder, { recursive: true });
  const data = openSync(`${folder}/model.onnx.data`, "w");
  let offset = 0;
  const graph = new BinaryWriter();
  for (const each of nodes) graph.raw(each);
  for (const { name, dtype, shape, bytes, seed } of tensors) {
    // Exporters align external data to pages.
    offset = Math.ceil(offset / 4096) * 4096;
    writeSync(data, contentOf(name, dtype, bytes, seed), 0, bytes, offset);
    const binding = { kind: "file", location: "model.onnx.data", offset, length: bytes };
    graph.raw(encodeInitializer(encodeTensor(name, dtype, shape, binding)));
    offset += bytes;
  }
  closeSync(data);
  graph.raw(node("Identity", [output], ["y"]));
  graph.tag(2, BYTES).string("quantized");
  graph.raw(encodeInput({ name: "x", dtype: "float32", shape: undefined }));
  graph.raw(encodeOutput({ name: "y", dtype: "float32", shape: undefined }));
  const model = new BinaryWriter().tag(1, WireType.Varint).int64(8);
  model.tag(7, BYTES).bytes(graph.finish()).raw(encodeOpset("", 17)).raw(encodeOpset("com.microsoft", 1));
  writeFileSync(`${folder}/model.onnx`, model.finish());
}

function node(opType, inputs, outputs, domain = "", attributes = {}) {
  const writer = new BinaryWriter().tag(1, BYTES).fork();
  for (const each of inputs) writer.tag(1, BYTES).string(each);
  for (const each of outputs) writer.tag(2, BYTES).string(each);
  writer.tag(4, BYTES).string(opType);
  for (const [name, value] of Object.entries(attributes)) {
    writer.tag(5, BYTES).fork().tag(1, BYTES).string(name);
    writer.tag(3, WireType.Varint).int64(value).tag(20, WireType.Varint).int32(2).join();
  }
  return writer.tag(7, BYTES).string(domain).join().finish();
}

/** Bytes that no two seeds share: one random table, from another place for each tensor. */
const table = randomFillSync(new Uint8Array(1 << 24));
function contentOf(name, dtype, bytes, seed) {
  if (dtype === "uint8") {
    const from = (seed * 7919 * 64) % (table.length - bytes);
    const content = table.slice(from, from + bytes);
    new DataView(content.buffer).setUint32(0, seed);
    return content;
  }
  const values = new Float32Array(bytes / 4);
  const base = name.endsWith("norm") ? 1 : name.endsWith("scales") ? 0.002 : 0.01;
  for (let index = 0; index < values.length; index++)
    values[index] = base * (0.5 + table[(index * 5 + seed * 977) % table.length] / 255) * (1 + seed / 1e6);
  return new Uint8Array(values.buffer);
}
