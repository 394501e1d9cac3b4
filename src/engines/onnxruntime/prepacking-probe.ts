import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { EngineError } from "../../errors.ts";
import {
  encodeInitializer,
  encodeInput,
  encodeIrVersion,
  encodeOpset,
  encodeOutput,
  encodeTensor,
} from "../../formats/onnx/encode.ts";
import { parseOnnx } from "../../formats/onnx/parse.ts";
import { readPrepacked } from "../../formats/onnx/prepacked.ts";
import { AttributeFields, GraphFields, ModelFields, NodeFields } from "../../formats/onnx/schema.ts";
import { PREPACKED_ALIGNMENT, type PrepackedEntry } from "../../model/prepacked-weight.ts";
import type { CompileCache } from "../engine-caches.ts";
import type { CacheTarget } from "./cache-target.ts";
import { type CreateSettings, PREPACKED_DATA } from "./protocol.ts";
import type { EngineThread } from "./thread.ts";

const SIZE = 64;
const BLOCK = 32;
const WEIGHT = { dtype: "uint8", shape: [SIZE, SIZE / BLOCK, BLOCK / 2] } as const;
const WEIGHT_BYTES = (SIZE * SIZE) / 2;
const SCALES = { dtype: "float32", shape: [SIZE, SIZE / BLOCK] } as const;

/**
 * Tests whether the engine maps prepacked bytes of a file on this machine. If it does not, it prepacks for each session
 * without an error, and files would be useless. The test file has the prepacked bytes of another weight, so that the
 * output shows which bytes the engine used.
 * @param results cache of the result, which depends on the engine's version and the processor
 */
export async function takesPrepacked(
  { version, cpu }: CacheTarget,
  thread: EngineThread,
  results: CompileCache | undefined,
): Promise<boolean> {
  const key = ["onnxruntime", version, process.platform, process.arch, "packing", cpu].join("-");
  const known = await results?.get(key);
  if (known) return known[0] === 1;
  const folder = await mkdtemp(join(tmpdir(), "tare-prepacking-"));
  try {
    const takes = await probe(folder, thread);
    await results?.put(key, Uint8Array.of(takes ? 1 : 0));
    return takes;
  } catch (error) {
    if (error instanceof EngineError && error.code === "engine") return false;
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function probe(folder: string, thread: EngineThread): Promise<boolean> {
  const settings = { level: "disabled", prepack: true, threads: 1, spinning: false, folder } as const;
  const one = Uint8Array.from({ length: WEIGHT_BYTES }, (_, index) => (index * 7) % 256);
  const other = Uint8Array.from({ length: WEIGHT_BYTES }, (_, index) => (index * 11 + 5) % 256);
  await writeFile(join(folder, "one"), one);
  await writeFile(join(folder, "other"), other);
  const [ours, theirs] = [
    await prepacked(folder, "one", settings, thread),
    await prepacked(folder, "other", settings, thread),
  ];
  if (!ours || !theirs || ours.bytes.byteLength !== theirs.bytes.byteLength) return false;
  const at = Math.ceil(WEIGHT_BYTES / PREPACKED_ALIGNMENT) * PREPACKED_ALIGNMENT;
  await writeFile(join(folder, "mixed"), Buffer.concat([one, Buffer.alloc(at - WEIGHT_BYTES), theirs.bytes]));
  const entry = { key: ours.key, buffers: [{ offset: at, length: theirs.bytes.byteLength }] };
  const run = async (model: Uint8Array): Promise<Buffer> => {
    const session = await thread.ask({ op: "load", model, settings });
    const x = {
      dtype: "float32",
      shape: [1, SIZE],
      bytes: new Uint8Array(new Float32Array(SIZE).fill(1).buffer),
    };
    const { y } = await thread.ask({ op: "run", session, inputs: { x } as never, outputs: undefined });
    await thread.ask({ op: "release", session });
    return Buffer.from(y && "bytes" in y ? y.bytes : []);
  };
  const mixed = await run(program("mixed", [entry]));
  return mixed.equals(await run(program("other", []))) && !mixed.equals(await run(program("one", [])));
}

/** Prepacks the weight of a file; `undefined` if the result is not one buffer. */
async function prepacked(
  folder: string,
  file: string,
  settings: CreateSettings,
  thread: EngineThread,
): Promise<{ key: string; bytes: Uint8Array } | undefined> {
  const into = join(folder, `prepacked-${file}`);
  await mkdir(into);
  const saved = await thread.ask({
    op: "prepack",
    model: program(file, []),
    settings,
    into,
    minBytes: WEIGHT_BYTES,
  });
  const view = new SparseBytes("probe", saved);
  const weight = parseOnnx(view).tensors.find((tensor) => tensor.local === "b");
  const [entry, ...more] = weight ? readPrepacked(view, weight) : [];
  const [buffer, ...others] = entry?.buffers ?? [];
  if (!entry || !buffer || more.length > 0 || others.length > 0) return undefined;
  const data = await readFile(join(into, PREPACKED_DATA));
  return { key: entry.key, bytes: data.subarray(buffer.offset, buffer.offset + buffer.length) };
}

/** A program of one `MatMulNBits` over the weight in a file. */
function program(location: string, entries: readonly PrepackedEntry[]): Uint8Array {
  const bytes = WireType.LengthDelimited;
  const node = new BinaryWriter().tag(GraphFields.node, bytes).fork();
  for (const input of ["x", "b", "s"]) node.tag(NodeFields.input, bytes).string(input);
  node.tag(NodeFields.output, bytes).string("y").tag(NodeFields.opType, bytes).string("MatMulNBits");
  node.tag(NodeFields.domain, bytes).string("com.microsoft");
  const attributes = { K: SIZE, N: SIZE, bits: 4, block_size: BLOCK, accuracy_level: 4 };
  for (const [name, value] of Object.entries(attributes)) {
    node.tag(NodeFields.attribute, bytes).fork().tag(AttributeFields.name, bytes).string(name);
    node
      .tag(AttributeFields.int, WireType.Varint)
      .int64(value)
      .tag(AttributeFields.type, WireType.Varint)
      .int32(2)
      .join();
  }
  const scales = new Uint8Array(new Float32Array(SCALES.shape[0] * SCALES.shape[1]).fill(0.01).buffer);
  const weight = { kind: "file", location, offset: 0, length: WEIGHT_BYTES, prepacked: entries } as const;
  const graph = new BinaryWriter().raw(node.join().finish());
  graph.raw(encodeInitializer(encodeTensor("b", WEIGHT.dtype, WEIGHT.shape, weight)));
  graph.raw(
    encodeInitializer(encodeTensor("s", SCALES.dtype, SCALES.shape, { kind: "inline", bytes: scales })),
  );
  graph
    .raw(encodeInput({ name: "x", dtype: "float32", shape: [1, SIZE] }))
    .raw(encodeOutput({ name: "y", dtype: undefined, shape: undefined }));
  graph.tag(GraphFields.name, bytes).string("probe");
  const model = new BinaryWriter().raw(encodeIrVersion(8)).raw(encodeOpset("", 17));
  return model
    .raw(encodeOpset("com.microsoft", 1))
    .tag(ModelFields.graph, bytes)
    .bytes(graph.finish())
    .finish();
}
