/**
 * Generates a model as exporters write it, LayerNorm and Gelu in their single operators, and checkpoints for it: all
 * weights other, and a twentieth of them.
 */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  encodeInitializer,
  encodeInput,
  encodeIrVersion,
  encodeOpset,
  encodeOutput,
  encodeTensor,
} from "../dist/formats/onnx/encode.js";
import { encodeSafetensorsHeader } from "../dist/formats/safetensors/write.js";
import { noise } from "./family.mjs";

const BYTES = WireType.LengthDelimited;
const NODE = 1;
const SCALARS = { "c.half": 0.5, "c.one": 1, "c.two": 2, "c.sqrt2": Math.SQRT2, "c.eps": 1e-5 };

/**
 * Residual blocks of LayerNorm → MatMul → Add → Gelu → MatMul → Add → Add, 19 nodes each, and a last LayerNorm of 9.
 * Matrices are [in, out]; transposed, they are [out, in] as PyTorch keeps them, each behind a Transpose: 21 nodes.
 * @returns {{base: string, tuned: string, checkpoint: string, part: string, names: string[], nodes: number,
 * weights: number, bytes: number, partBytes: number}} the folders of two models of one program; the second's weights
 * as a .safetensors; some of them as another
 */
export function generateRefit(root, { blocks, width, transposed = false }) {
  const specs = [];
  const nodes = [];
  let x = "x";
  for (let block = 0; block < blocks; block++) {
    const at = `h.${block}`;
    weight(`${at}.norm.weight`, [width]);
    weight(`${at}.norm.bias`, [width]);
    matrix(`${at}.up.weight`, width, 4 * width);
    weight(`${at}.up.bias`, [4 * width]);
    matrix(`${at}.down.weight`, 4 * width, width);
    weight(`${at}.down.bias`, [width]);
    norm(`${at}.norm`, x, `${at}.normed`);
    product(`${at}.normed`, `${at}.up.weight`, `${at}.up`);
    node("Add", [`${at}.up`, `${at}.up.bias`], `${at}.wide`);
    node("Div", [`${at}.wide`, "c.sqrt2"], `${at}.scaled`);
    node("Erf", [`${at}.scaled`], `${at}.erf`);
    node("Add", [`${at}.erf`, "c.one"], `${at}.plus`);
    node("Mul", [`${at}.wide`, `${at}.plus`], `${at}.twice`);
    node("Mul", [`${at}.twice`, "c.half"], `${at}.gelu`);
    product(`${at}.gelu`, `${at}.down.weight`, `${at}.down`);
    node("Add", [`${at}.down`, `${at}.down.bias`], `${at}.shifted`);
    node("Add", [x, `${at}.shifted`], `${at}.out`);
    x = `${at}.out`;
  }
  weight("last.weight", [width]);
  weight("last.bias", [width]);
  norm("last", x, "y");

  const base = writeModel(`${root}/base`, 0);
  const tuned = writeModel(`${root}/tuned`, 1);
  const checkpoint = writeCheckpoint(`${root}/checkpoint.safetensors`, specs, 1);
  // The last blocks, as many as make a twentieth of the bytes, one at least.
  const first = blocks - Math.max(1, Math.round(blocks / 20));
  const some = specs.filter(({ name }) => Number(/^h\.(\d+)\./.exec(name)?.[1]) >= first);
  const part = writeCheckpoint(`${root}/part.safetensors`, some, 2);
  return {
    base,
    tuned,
    checkpoint,
    part,
    names: some.map(({ name }) => name),
    nodes: nodes.length,
    weights: specs.length,
    bytes: sum(specs),
    partBytes: sum(some),
  };

  function weight(name, shape) {
    specs.push({ name, dtype: "float32", shape, count: shape.reduce((a, b) => a * b, 1) });
  }

  function matrix(name, rows, columns) {
    weight(name, transposed ? [columns, rows] : [rows, columns]);
  }

  function product(x, name, to) {
    if (transposed) node("Transpose", [name], `${name}.t`);
    node("MatMul", [x, transposed ? `${name}.t` : name], to);
  }

  function node(type, inputs, output, axes) {
    const writer = new BinaryWriter().tag(NODE, BYTES).fork();
    for (const each of inputs) writer.tag(1, BYTES).string(each);
    writer.tag(2, BYTES).string(output).tag(4, BYTES).string(type);
    if (axes !== undefined) {
      writer.tag(5, BYTES).fork().tag(1, BYTES).string("axes").tag(8, WireType.Varint).int64(axes);
      writer.tag(20, WireType.Varint).int32(7).join();
    }
    nodes.push(writer.join().finish());
  }

  function norm(name, from, to) {
    node("ReduceMean", [from], `${name}.mean`, -1);
    node("Sub", [from, `${name}.mean`], `${name}.centred`);
    node("Pow", [`${name}.centred`, "c.two"], `${name}.squared`);
    node("ReduceMean", [`${name}.squared`], `${name}.variance`, -1);
    node("Add", [`${name}.variance`, "c.eps"], `${name}.safe`);
    node("Sqrt", [`${name}.safe`], `${name}.deviation`);
    node("Div", [`${name}.centred`, `${name}.deviation`], `${name}.unit`);
    node("Mul", [`${name}.unit`, `${name}.weight`], `${name}.times`);
    node("Add", [`${name}.times`, `${name}.bias`], to);
  }

  function writeModel(folder, variant) {
    mkdirSync(folder, { recursive: true });
    const data = openSync(`${folder}/model.onnx.data`, "w");
    const initializers = Object.entries(SCALARS).map(([name, value]) =>
      scalar(name, new Float32Array([value])),
    );
    let offset = 0;
    for (const [index, spec] of specs.entries()) {
      const bytes = valuesOf(spec, index, variant);
      // Exporters align external data to pages.
      offset = Math.ceil(offset / 4096) * 4096;
      writeSync(data, bytes, 0, bytes.length, offset);
      const binding = { kind: "file", location: "model.onnx.data", offset, length: bytes.length };
      initializers.push(encodeInitializer(encodeTensor(spec.name, spec.dtype, spec.shape, binding)));
      offset += bytes.length;
    }
    closeSync(data);
    const graph = new BinaryWriter();
    for (const each of [...nodes, ...initializers]) graph.raw(each);
    graph.tag(2, BYTES).string("refit");
    graph.raw(encodeInput({ name: "x", dtype: "float32", shape: ["rows", width] }));
    graph.raw(encodeOutput({ name: "y", dtype: "float32", shape: ["rows", width] }));
    const model = new BinaryWriter().raw(encodeIrVersion(8));
    model.tag(7, BYTES).bytes(graph.finish()).raw(encodeOpset("", 17));
    writeFileSync(`${folder}/model.onnx`, model.finish());
    return folder;
  }

  function writeCheckpoint(path, wanted, variant) {
    const header = encodeSafetensorsHeader(wanted);
    const file = openSync(path, "w");
    writeSync(file, header.bytes);
    for (const { spec, offset } of header.tensors) {
      const bytes = valuesOf(spec, specs.indexOf(spec), variant);
      writeSync(file, bytes, 0, bytes.length, offset);
    }
    closeSync(file);
    return path;
  }
}

function scalar(name, values) {
  const bytes = new Uint8Array(values.buffer);
  return encodeInitializer(encodeTensor(name, "float32", [], { kind: "inline", bytes }));
}

/** Small, so that hundreds of blocks stay finite. */
function valuesOf({ count }, index, variant) {
  return new Uint8Array(noise(count, variant * 100_003 + index + 1, 0.02).buffer);
}

function sum(specs) {
  return specs.reduce((total, { count }) => total + count * 4, 0);
}
