/** Generates a family of models with external data: one foundation, and fine-tunes that change the last tenth. */
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

/**
 * Residual blocks of LayerNorm → MatMul → Add, [width, width] float32 each: 64 of 2048 make 1 GiB.
 * @returns {{name: string, folder: string}[]} one folder a model
 */
export function generateFamily(root, { models, blocks, width, own }) {
  const count = width * width;
  return Array.from({ length: models }, (_, index) => {
    const name = `model-${index}`;
    const folder = `${root}/${name}`;
    if (existsSync(`${folder}/model.onnx`)) return { name, folder };
    mkdirSync(folder, { recursive: true });
    const data = openSync(`${folder}/model.onnx.data`, "w");
    const writer = { fd: data, offset: 0 };
    const nodes = [];
    const initializers = [];
    for (let block = 0; block < blocks; block++) {
      // What a fine-tune did not change has the foundation's seed.
      const seed = block >= blocks * (1 - own) ? index * blocks + block + 1 : block + 1;
      const matrix = `block.${block}.weight`;
      const scale = `block.${block}.norm.weight`;
      initializers.push(store(writer, matrix, [width, width], noise(count, seed, 1 / Math.sqrt(width))));
      initializers.push(store(writer, scale, [width], new Float32Array(width).fill(1 + seed / 1e4)));
      const from = block === 0 ? "x" : `h.${block}`;
      nodes.push(node("LayerNormalization", [from, scale], [`n.${block}`]));
      nodes.push(node("MatMul", [`n.${block}`, matrix], [`m.${block}`]));
      nodes.push(node("Add", [from, `m.${block}`], [block === blocks - 1 ? "y" : `h.${block + 1}`]));
    }
    closeSync(data);
    const graph = new BinaryWriter();
    for (const each of [...nodes, ...initializers]) graph.raw(each);
    graph.tag(2, BYTES).string("family");
    graph.raw(encodeInput({ name: "x", dtype: "float32", shape: [1, width] }));
    graph.raw(encodeOutput({ name: "y", dtype: "float32", shape: [1, width] }));
    const model = new BinaryWriter().tag(1, WireType.Varint).int64(8);
    model.tag(7, BYTES).bytes(graph.finish()).raw(encodeOpset("", 17));
    writeFileSync(`${folder}/model.onnx`, model.finish());
    return { name, folder };
  });
}

function node(opType, inputs, outputs) {
  const writer = new BinaryWriter().tag(1, BYTES).fork();
  for (const each of inputs) writer.tag(1, BYTES).string(each);
  for (const each of outputs) writer.tag(2, BYTES).string(each);
  return writer.tag(4, BYTES).string(opType).join().finish();
}

function store(writer, name, shape, values) {
  const bytes = new Uint8Array(values.buffer);
  // Exporters align external data to pages.
  writer.offset = Math.ceil(writer.offset / 4096) * 4096;
  writeSync(writer.fd, bytes, 0, bytes.length, writer.offset);
  const binding = { kind: "file", location: "model.onnx.data", offset: writer.offset, length: bytes.length };
  writer.offset += bytes.length;
  return encodeInitializer(encodeTensor(name, "float32", shape, binding));
}

/** Values that no two seeds share: one random table, shifted and scaled by the seed. */
const table = new Float32Array(1 << 20);
{
  const random = randomFillSync(new Int32Array(table.length));
  for (let index = 0; index < table.length; index++) table[index] = random[index] / 2 ** 31;
}
export function noise(count, seed, scale) {
  const values = new Float32Array(count);
  const step = 1 + (seed % 7) * 2;
  for (let index = 0; index < count; index++)
    values[index] = table[(index * step + seed * 7919) & (table.length - 1)] * scale * (1 + seed / 1e6);
  return values;
}
