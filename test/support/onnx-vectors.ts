import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type * as Ort from "onnxruntime-node";
import type { OrtSessionInfo } from "../../src/engines/onnxruntime/session.ts";
import { TareError } from "../../src/errors.ts";
import type { Tensor, Tensors } from "../../src/tensor/tensor.ts";
import type { TareStore } from "../../src/tare-store.ts";
import { runtimeOf } from "./runtime.ts";
import { describeModel } from "../../src/operations/describe.ts";

/** A test vector as the ONNX project lays it out: a model, and what it gives for what. */
export interface Vector {
  /** Path of its folder, relative to where {@link findVectors} looked. */
  readonly name: string;
  readonly model: string;
  readonly sets: readonly { readonly inputs: readonly string[]; readonly outputs: readonly string[] }[];
  /** The same computation with everything fed, where there is one: it has no constants to optimize. */
  readonly fed?: Vector | undefined;
}

/** What became of a vector. */
export type Outcome =
  /** tare gave what stock ONNX Runtime gave, bit for bit. */
  | {
      readonly kind: "equal";
      readonly loaded: Loaded;
      /** Why what stock gave is not what the vector expects; `undefined` where it is. */
      readonly unexpected: string | undefined;
    }
  /**
   * Stock computes something of the weights when it loads them, in another order of operations than without. Bit for
   * bit equal to stock where it is kept from that, or is fed what was a weight.
   */
  | { readonly kind: "close"; readonly loaded: Loaded; readonly difference: Difference }
  /** Stock ONNX Runtime cannot run it from JavaScript, or not twice alike. */
  | { readonly kind: "skipped"; readonly reason: string; readonly detail: string }
  | { readonly kind: "different"; readonly detail: string };

/** How tare loaded a model. */
export interface Loaded {
  readonly weights: number;
  readonly prepacked: boolean;
  /** Why its program was not compiled without its weights. */
  readonly whole: string | undefined;
}

/** How far apart two outputs are. */
export interface Difference {
  readonly output: string;
  readonly absolute: number;
  /** Of the largest magnitude in stock's output. */
  readonly relative: number;
}

/** Reasons to skip that another machine, or chance, may not have. */
export const FICKLE_REASONS: readonly string[] = ["it draws at random", "it lacks a locale"];

/** Every folder below with a `model.onnx`, by name. */
export async function findVectors(root: string, folder = ""): Promise<Vector[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  if (!entries.some((entry) => entry.name === "model.onnx")) {
    const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
    return (await Promise.all(folders.sort().map((inner) => findVectors(root, inner)))).flat();
  }
  const sets: { inputs: string[]; outputs: string[] }[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (!entry.isDirectory() || !entry.name.startsWith("test_data_set_")) continue;
    const data = join(root, folder, entry.name);
    const names = new Set(await readdir(data));
    const all = (kind: string): string[] => {
      const paths: string[] = [];
      while (names.has(`${kind}_${paths.length}.pb`)) paths.push(join(data, `${kind}_${paths.length}.pb`));
      return paths;
    };
    sets.push({ inputs: all("input"), outputs: all("output") });
  }
  return [{ name: folder, model: join(root, folder, "model.onnx"), sets }];
}

/** Vectors added to the store at once, as methods of one model: starting an add costs more than a vector's bytes. */
const BATCH = 64;
/** Vectors under way at once: stock runs in this thread, while the store's engine runs in others. */
const LANES = 3;
/** Operators whose numbers depend on where in the graph they stand. */
const RANDOM = /Bernoulli|Multinomial|Random(Normal|Uniform)/;

/** Runs vectors on stock ONNX Runtime and through a store, one thread for operators in both. */
export class VectorRunner {
  readonly #store: TareStore;
  readonly #ort: typeof Ort;
  #serial = 0;

  /** @param ort the stock engine, in this thread */
  constructor(store: TareStore, ort: typeof Ort) {
    this.#store = store;
    this.#ort = ort;
  }

  /**
   * Adds the vectors' models to the store, exports them, runs them both ways, and takes them out again.
   * @returns what became of each, by name
   */
  async run(vectors: readonly Vector[]): Promise<Map<string, Outcome>> {
    const outcomes = new Map<string, Outcome>();
    for (let start = 0; start < vectors.length; start += BATCH) {
      await this.#batch(vectors.slice(start, start + BATCH), outcomes);
    }
    return outcomes;
  }

  async #batch(vectors: readonly Vector[], outcomes: Map<string, Outcome>): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), "tare-vectors-"));
    const model = `batch-${this.#serial++}`;
    const methods = vectors.map((_, index) => String(index).padStart(3, "0"));
    try {
      await mkdir(join(folder, "models"));
      for (const [index, vector] of vectors.entries())
        await symlink(resolve(vector.model), join(folder, "models", `${methods[index]}.onnx`));
      try {
        await this.#store.add([join(folder, "models")], { as: model, threads: 1 });
      } catch (error) {
        if (!(error instanceof TareError) || vectors.length === 1) throw error;
        // One of them is at fault: each by itself says which.
        for (const vector of vectors) {
          await this.#batch([vector], outcomes).catch((cause: unknown) =>
            outcomes.set(vector.name, { kind: "different", detail: `add: ${String(cause)}` }),
          );
        }
        return;
      }
      await this.#store.export(model, join(folder, "exported"));
      const { methods: infos } = await describeModel(this.#store, model);
      let next = 0;
      const lane = async (): Promise<void> => {
        for (let index = next++; index < vectors.length; index = next++) {
          const vector = vectors[index] as Vector;
          const method = methods[index] as string;
          const copy =
            vectors.length > 1 ? join(folder, "exported", `${method}.onnx`) : join(folder, "exported");
          const exported = Buffer.compare(await readFile(copy), await readFile(vector.model)) === 0;
          const weights = infos.find((info) => info.name === method)?.weights.length ?? 0;
          outcomes.set(
            vector.name,
            exported
              ? await this.#outcome(vector, model, method, weights)
              : { kind: "different", detail: "export: other bytes" },
          );
        }
      };
      await Promise.all(Array.from({ length: LANES }, lane));
      await this.#store.remove([model]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #outcome(vector: Vector, model: string, method: string, weights: number): Promise<Outcome> {
    try {
      const bare = await this.#stock(vector, {});
      const { session, sets } = await this.#tare(model, method, bare);
      const loaded = { weights, prepacked: session.prepacked, whole: session.weightlessBlocker };
      const options = { prepack: session.prepacked };
      const stock = options.prepack ? await this.#stock(vector, options) : bare;
      const difference = compare(stock.sets, sets);
      if (!difference) return { kind: "equal", loaded, unexpected: await unexpected(vector, stock.sets) };
      if (RANDOM.test((await readFile(vector.model)).toString("latin1")))
        throw new Skipped("it draws at random", difference.output);
      const blind = await (vector.fed
        ? this.#stock(vector.fed, options)
        : this.#stock(vector, { ...options, blind: true }));
      const rest = compare(blind.sets, sets);
      if (!rest) return { kind: "close", loaded, difference };
      throw new Different(
        `${JSON.stringify(difference)}, and from stock without weights ${JSON.stringify(rest)}`,
      );
    } catch (error) {
      if (error instanceof Skipped) {
        await this.#load(model, method);
        return { kind: "skipped", reason: error.reason, detail: error.message };
      }
      if (error instanceof Different) return { kind: "different", detail: error.message };
      throw new Error(`${vector.name}: ${String(error)}`, { cause: error });
    }
  }

  /** @throws Skipped where stock cannot do it */
  async #stock(vector: Vector, options: StockOptions): Promise<StockRun> {
    const { prepack = false, blind = false } = options;
    let session: Ort.InferenceSession;
    try {
      session = await this.#ort.InferenceSession.create(vector.model, {
        graphOptimizationLevel: "extended",
        intraOpNumThreads: 1,
        logSeverityLevel: 4,
        extra: {
          session: { disable_prepacking: prepack ? "0" : "1" },
          ...(blind && { optimization: { disable_specified_optimizers: SEEING.join(";") } }),
        },
      });
    } catch (error) {
      throw new Skipped(reasonOf(error), String(error));
    }
    try {
      const ports = [...session.inputMetadata, ...session.outputMetadata];
      const odd = ports.find((port) => !port.isTensor);
      if (odd) throw new Skipped("its JavaScript interface has no sequences, maps and optionals", odd.name);
      const unreadable = session.outputMetadata.find(
        (port) => port.isTensor && port.type !== "string" && !STOCK_ARRAYS[port.type],
      );
      // Asked for an int4 output it ends the process.
      if (unreadable?.isTensor) throw new Skipped(UNFED, `${unreadable.name}: ${unreadable.type}`);
      const feeds: Tensors[] = [];
      const sets: Tensors[] = [];
      for (const { inputs } of vector.sets) {
        if (inputs.length > session.inputNames.length) {
          throw new Skipped(
            "its JavaScript interface cannot feed an initializer",
            `${session.inputNames.length} inputs, ${inputs.length} given`,
          );
        }
        const feed = Object.fromEntries(
          await Promise.all(
            inputs.map(async (path, index) => [session.inputNames[index] as string, await readTensor(path)]),
          ),
        ) as Tensors;
        const fed = Object.entries(feed).map(([input, tensor]) => [input, this.#tensor(tensor)]);
        let outputs: Ort.InferenceSession.ReturnType;
        try {
          outputs = await session.run(Object.fromEntries(fed) as Record<string, Ort.Tensor>);
        } catch (error) {
          throw new Skipped("it fails when it runs", String(error));
        }
        feeds.push(feed);
        sets.push(
          Object.fromEntries(
            Object.entries(outputs).map(([output, tensor]) => [output, fromStock(output, tensor)]),
          ),
        );
      }
      return { inputs: session.inputNames, outputs: session.outputNames, feeds, sets };
    } finally {
      await session.release();
    }
  }

  #tensor(tensor: Tensor): Ort.Tensor {
    const { shape } = tensor;
    if (tensor.dtype === "string") return new this.#ort.Tensor("string", [...tensor.strings], shape);
    const Elements = STOCK_ARRAYS[tensor.dtype];
    if (!Elements) throw new Skipped(UNFED, tensor.dtype);
    const buffer = tensor.bytes.slice().buffer;
    return new this.#ort.Tensor(tensor.dtype as "float32", new Elements(buffer) as Float32Array, shape);
  }

  /** Loads what stock does not run: tare may refuse it, but with an error of its own. */
  async #load(model: string, method: string): Promise<void> {
    try {
      await (await runtimeOf(this.#store).load(model, { method, threads: 1 })).release();
    } catch (error) {
      if (!(error instanceof TareError)) throw error;
    }
  }

  /** @throws Different where tare fails */
  async #tare(
    model: string,
    method: string,
    stock: StockRun,
  ): Promise<{ session: OrtSessionInfo; sets: readonly Tensors[] }> {
    try {
      await using session = await runtimeOf(this.#store).load(model, { method, threads: 1 });
      const { inputs, outputs } = session.signature;
      const ports = JSON.stringify([inputs.map((port) => port.name), outputs.map((port) => port.name)]);
      if (ports !== JSON.stringify([stock.inputs, stock.outputs]))
        throw new Different(`its signature is ${ports}`);
      const sets: Tensors[] = [];
      for (const feed of stock.feeds) sets.push(await session.run(feed));
      return { session, sets };
    } catch (error) {
      if (error instanceof TareError) throw new Different(error.message);
      throw error;
    }
  }
}

interface StockOptions {
  readonly prepack?: boolean;
  /** Without the optimizers that compute with weights. */
  readonly blind?: boolean;
}

/** ONNX Runtime's optimizers that make new weights of weights: tare's programs are compiled without any. */
const SEEING = ["ConstantFolding", "ConvBNFusion", "ConvMulFusion", "ConvAddFusion"];

interface StockRun {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly feeds: readonly Tensors[];
  readonly sets: readonly Tensors[];
}

class Skipped extends Error {
  readonly reason: string;
  constructor(reason: string, detail: string) {
    super(detail);
    this.reason = reason;
  }
}

class Different extends Error {}

const UNFED = "its JavaScript interface lacks a data type";

const NEWER =
  /is not a registered function|No Op registered|Unrecognized attribute|max supported IR version|is till opset/;

/** Stock's reasons not to load a model, without the names in them. */
function reasonOf(error: unknown): string {
  const message = String(error);
  if (message.includes("Failed to construct locale")) return "it lacks a locale";
  if (/NOT_IMPLEMENTED|Could not find an implementation/.test(message)) return "it has no kernel";
  if (message.includes("Unsupported data type")) return UNFED;
  if (NEWER.test(message)) return "the model is newer than it, or for training";
  return "it refuses the model";
}

const STOCK_ARRAYS: Readonly<Record<string, new (buffer: ArrayBuffer) => ArrayBufferView>> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: (globalThis as { Float16Array?: typeof Uint16Array }).Float16Array ?? Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

function fromStock(name: string, tensor: Ort.Tensor): Tensor {
  const shape = [...tensor.dims];
  if (tensor.type === "string") return { dtype: "string", shape, strings: tensor.data as string[] };
  const { data } = tensor;
  if (!ArrayBuffer.isView(data)) throw new Skipped("its JavaScript interface gives no dense tensor", name);
  return {
    dtype: tensor.type,
    shape,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice(),
  };
}

/** The first output that is not the same, bit for bit. */
function compare(stock: readonly Tensors[], ours: readonly Tensors[]): Difference | undefined {
  for (const [set, outputs] of stock.entries()) {
    for (const [output, tensor] of Object.entries(outputs)) {
      const other = ours[set]?.[output];
      if (!other || describe(tensor) !== describe(other))
        throw new Different(`${output} is ${other && describe(other)}, not ${describe(tensor)}`);
      if (tensor.dtype === "string" || other.dtype === "string") {
        if (JSON.stringify(tensor) !== JSON.stringify(other))
          throw new Different(`${output} has other strings`);
      } else if (Buffer.compare(tensor.bytes, other.bytes) !== 0) return measure(output, tensor, other);
    }
  }
  return undefined;
}

function describe({ dtype, shape }: Tensor): string {
  return `${dtype} [${shape.join(", ")}]`;
}

function measure(output: string, stock: Tensor, ours: Tensor): Difference {
  const a = numbersOf(stock) ?? [];
  const b = numbersOf(ours) ?? [];
  let absolute = 0;
  let largest = 0;
  a.forEach((value, index) => {
    largest = Math.max(largest, Math.abs(value));
    absolute = Math.max(absolute, Math.abs(value - (b[index] as number)) || 0);
  });
  return { output, absolute, relative: largest > 0 ? absolute / largest : 0 };
}

/** Elements as numbers; `undefined` for what has none. Wide integers lose their last bits. */
function numbersOf(tensor: Tensor): number[] | undefined {
  if (tensor.dtype === "string") return undefined;
  const { buffer } = tensor.bytes.slice();
  if (tensor.dtype === "float16") return Array.from(new Uint16Array(buffer), float16);
  const Elements = STOCK_ARRAYS[tensor.dtype];
  return Elements && Array.from(new Elements(buffer) as unknown as ArrayLike<number | bigint>, Number);
}

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
}

/** Why outputs are not what a vector expects, to the tolerance of the ONNX project's own runner. */
async function unexpected(vector: Vector, sets: readonly Tensors[]): Promise<string | undefined> {
  for (const [index, { outputs }] of vector.sets.entries()) {
    const given = Object.entries(sets[index] as Tensors);
    for (const [at, path] of outputs.entries()) {
      const [name, tensor] = given[at] ?? [];
      const wanted = await readTensor(path);
      if (!tensor || describe(tensor) !== describe(wanted))
        return `${name ?? basename(path)}: ${tensor && describe(tensor)} instead of ${describe(wanted)}`;
      if (tensor.dtype === "string" || wanted.dtype === "string") {
        if (JSON.stringify(tensor) !== JSON.stringify(wanted)) return `${name}: other strings`;
        continue;
      }
      const a = numbersOf(tensor);
      const b = numbersOf(wanted);
      if (!a || !b) {
        if (Buffer.compare(tensor.bytes, wanted.bytes) !== 0) return `${name}: other bytes`;
        continue;
      }
      const far = a.findIndex((value, element) => {
        const other = b[element] as number;
        return !(
          Object.is(value, other) ||
          value === other ||
          Math.abs(value - other) <= 1e-7 + 1e-3 * Math.abs(other)
        );
      });
      if (far >= 0) return `${name}[${far}]: ${a[far]} instead of ${b[far]}`;
    }
  }
  return undefined;
}

const DTYPES: Readonly<Record<number, string>> = {
  1: "float32",
  2: "uint8",
  3: "int8",
  4: "uint16",
  5: "int16",
  6: "int32",
  7: "int64",
  8: "string",
  9: "bool",
  10: "float16",
  11: "float64",
  12: "uint32",
  13: "uint64",
  16: "bfloat16",
  21: "uint4",
  22: "int4",
};
const WIDTHS: Readonly<Record<string, number>> = {
  uint8: 1,
  int8: 1,
  bool: 1,
  uint16: 2,
  int16: 2,
  float16: 2,
  bfloat16: 2,
  uint4: 1,
  int4: 1,
  int32: 4,
  float32: 4,
  uint32: 4,
};

/**
 * Reads a file with a `TensorProto`, with none of the code of src/ that reads those.
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
export async function readTensor(path: string): Promise<Tensor> {
  const reader = new BinaryReader(new Uint8Array(await readFile(path)));
  const shape: number[] = [];
  const strings: string[] = [];
  const numbers: bigint[] = [];
  const floats: number[] = [];
  let dataType = 0;
  let raw: Uint8Array | undefined;
  const each = (wire: WireType, read: () => void): void => {
    if (wire !== WireType.LengthDelimited) return read();
    const end = reader.uint32() + reader.pos;
    while (reader.pos < end) read();
  };
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1) each(wire, () => shape.push(Number(reader.int64())));
    else if (field === 2) dataType = reader.int32();
    else if (field === 4) each(wire, () => floats.push(reader.float()));
    else if (field === 5 || field === 7) each(wire, () => numbers.push(BigInt(reader.int64())));
    else if (field === 6) strings.push(reader.string());
    else if (field === 9) raw = reader.bytes();
    else if (field === 10) each(wire, () => floats.push(reader.double()));
    else if (field === 11) each(wire, () => numbers.push(BigInt(reader.uint64())));
    else reader.skip(wire, field);
  }
  const dtype = DTYPES[dataType];
  if (!dtype) throw new Skipped(UNFED, `${path}: ${dataType}`);
  if (dtype === "string") return { dtype, shape, strings };
  if (raw) return { dtype, shape, bytes: raw.slice() } as Tensor;
  const elements = dtype.startsWith("float") && floats.length > 0 ? floats.length : numbers.length;
  const width = WIDTHS[dtype] ?? 8;
  const bytes = new Uint8Array(elements * width);
  const view = new DataView(bytes.buffer);
  floats.forEach((value, index) =>
    width === 4 ? view.setFloat32(index * 4, value, true) : view.setFloat64(index * 8, value, true),
  );
  numbers.forEach((value, index) => {
    if (width === 8) view.setBigUint64(index * 8, BigInt.asUintN(64, value), true);
    else
      for (let byte = 0; byte < width; byte++)
        bytes[index * width + byte] = Number((value >> BigInt(8 * byte)) & 255n);
  });
  return { dtype, shape, bytes } as Tensor;
}
