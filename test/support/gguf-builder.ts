/** A number in the header that says how something is laid out: what a mutation is worth most on. */
export interface GgufField {
  readonly what: "count" | "length" | "type" | "dimension" | "offset" | "version" | "value";
  /** In bytes from the start of the file. */
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
}

/** Spells what a GGUF file is made of, right or wrong, and remembers where it put which number. */
export class GgufBytes {
  readonly fields: GgufField[] = [];
  readonly #bytes: number[] = [];

  get length(): number {
    return this.#bytes.length;
  }

  raw(bytes: Iterable<number>): this {
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  /** Little-endian; cut to its size. */
  integer(value: number | bigint, size: GgufField["size"], what: GgufField["what"] = "value"): this {
    this.fields.push({ what, at: this.length, size });
    const bits = BigInt.asUintN(size * 8, BigInt(value));
    for (let byte = 0; byte < size; byte++) this.#bytes.push(Number((bits >> BigInt(byte * 8)) & 0xffn));
    return this;
  }

  text(value: string | Iterable<number>, length?: number | bigint): this {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : [...value];
    return this.integer(length ?? bytes.length, 8, "length").raw(bytes);
  }

  pad(alignment: number): this {
    while (this.length % alignment !== 0) this.#bytes.push(0);
    return this;
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** Numbers of the value types. */
export const TYPE = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;

/** An entry of the metadata: its key, the number of its type, and what writes the value. */
export type BuiltEntry = readonly [
  key: string | Iterable<number>,
  type: number,
  value: (bytes: GgufBytes) => void,
];

export const uint16 = (key: string, value: number): BuiltEntry => [
  key,
  TYPE.uint16,
  (bytes) => bytes.integer(value, 2),
];
export const uint32 = (key: string, value: number): BuiltEntry => [
  key,
  TYPE.uint32,
  (bytes) => bytes.integer(value, 4),
];
export const int32 = (key: string, value: number): BuiltEntry => [
  key,
  TYPE.int32,
  (bytes) => bytes.integer(value, 4),
];
export const text = (key: string | Iterable<number>, value: string | Iterable<number>): BuiltEntry => [
  key,
  TYPE.string,
  (bytes) => bytes.text(value),
];
export const array = (
  key: string,
  type: number,
  length: number | bigint,
  items: (bytes: GgufBytes) => void,
): BuiltEntry => [
  key,
  TYPE.array,
  (bytes) => {
    bytes.integer(type, 4, "type").integer(length, 8, "count");
    items(bytes);
  },
];

/** A tensor; `dims` in the order of the file, innermost first. */
export interface BuiltTensor {
  readonly name: string | Iterable<number>;
  readonly dims: readonly (number | bigint)[];
  readonly type: number;
  /** Bytes in the file, for the offsets of those after it. */
  readonly size: number;
  /** From the start of the data; after the one before if left out. */
  readonly offset?: number | bigint;
}

export interface BuiltFile {
  readonly magic?: string;
  readonly version?: number;
  readonly entries?: readonly BuiltEntry[];
  readonly tensors?: readonly BuiltTensor[];
  readonly entryCount?: number | bigint;
  readonly tensorCount?: number | bigint;
  readonly alignment?: number;
  /** Bytes of data; what the tensors need if left out. */
  readonly data?: number;
}

/** Float32 of one dimension. */
export function floats(name: string, count: number): BuiltTensor {
  return { name, dims: [count], type: 0, size: count * 4 };
}

/** Shards of a split, by their names: shard 1 says how many tensors there are. */
export function shards(
  prefix: string,
  tensors: readonly (readonly BuiltTensor[])[],
): Record<string, BuiltFile> {
  const digits = (number: number): string => String(number).padStart(5, "0");
  return Object.fromEntries(
    tensors.map((held, no): [string, BuiltFile] => [
      `${prefix}-${digits(no + 1)}-of-${digits(tensors.length)}.gguf`,
      {
        tensors: held,
        entries: [
          uint16("split.no", no),
          ...(no > 0
            ? []
            : [uint16("split.count", tensors.length), int32("split.tensors.count", tensors.flat().length)]),
        ],
      },
    ]),
  );
}

/** Spells a whole file, with data of bytes that count up. */
export function buildGguf(file: BuiltFile = {}): { bytes: Uint8Array; fields: readonly GgufField[] } {
  const { entries = [], tensors = [], alignment = 32 } = file;
  const bytes = new GgufBytes()
    .raw(new TextEncoder().encode(file.magic ?? "GGUF"))
    .integer(file.version ?? 3, 4, "version")
    .integer(file.tensorCount ?? tensors.length, 8, "count")
    .integer(file.entryCount ?? entries.length, 8, "count");
  for (const [key, type, value] of entries) {
    bytes.text(key).integer(type, 4, "type");
    value(bytes);
  }
  let offset = 0;
  for (const tensor of tensors) {
    bytes.text(tensor.name).integer(tensor.dims.length, 4, "count");
    for (const dimension of tensor.dims) bytes.integer(dimension, 8, "dimension");
    bytes.integer(tensor.type, 4, "type").integer(tensor.offset ?? offset, 8, "offset");
    offset = Math.ceil((offset + tensor.size) / alignment) * alignment;
  }
  bytes.pad(alignment);
  bytes.raw(Array.from({ length: file.data ?? offset }, (_, index) => index % 251));
  return { bytes: bytes.finish(), fields: bytes.fields };
}
