import { fileErrors, FormatError, operationError } from "../../errors.ts";
import { DTYPE_BITS, elementCount } from "../../tensor/dtype.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { NumberTensor, Tensor, Tensors } from "../../tensor/tensor.ts";
import { DTYPES, MAX_HEADER_LENGTH, METADATA, PREFIX } from "./schema.ts";

/** Alignment of the data in bytes, so that a mapped file can be read in place. */
const ALIGNMENT = 8;
const fail = fileErrors({ format: "safetensors" });
const CODES = [...DTYPES].map(([code, dtype]) => ({ code, dtype }));

/** A tensor to list in a header. */
export interface SafetensorsSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** An encoded header, and the places of the data after it. */
export interface EncodedSafetensorsHeader<T> {
  /** The data follows immediately. */
  readonly bytes: Uint8Array;
  /** In the order of their data, each with its start in bytes from the start of the file. */
  readonly tensors: readonly { readonly spec: T; readonly offset: number; readonly length: number }[];
  /** Size of the whole file, in bytes. */
  readonly size: number;
}

/**
 * Encodes the header of a safetensors file, byte for byte as the reference implementation: ordered by dtype from the
 * widest, then by name.
 * @param metadata remarks of the writer; readers of PyTorch weights require `{ format: "pt" }`
 * @throws FormatError `unsupported` for a dtype that the format does not have; `bad-name`, `size-mismatch`, `too-large`
 */
export function encodeSafetensorsHeader<T extends SafetensorsSpec>(
  specs: readonly T[],
  metadata?: Readonly<Record<string, string>>,
): EncodedSafetensorsHeader<T> {
  const items = specs.map((spec) => ({ spec, ...layoutOf(spec) }));
  items.sort((a, b) => b.order - a.order || (a.spec.name < b.spec.name ? -1 : 1));
  let end = 0;
  const starts: number[] = [];
  const entries = items.map(({ spec: { name, shape }, code, length }): [string, unknown] => {
    starts.push(end);
    end += length;
    return [name, { dtype: code, shape, data_offsets: [end - length, end] }];
  });
  const bytes = encodeHeader(entries, metadata);
  const tensors = items.map(({ spec, length }, index) => {
    return { spec, offset: bytes.byteLength + (starts[index] as number), length };
  });
  return { bytes, tensors, size: bytes.byteLength + end };
}

/**
 * Writes tensors as a safetensors file, in memory.
 * @param metadata remarks of the writer
 * @throws FormatError what {@link encodeSafetensorsHeader} throws, and `unsupported` for strings
 */
export function writeSafetensors(tensors: Tensors, metadata?: Readonly<Record<string, string>>): Uint8Array {
  const specs = Object.entries(tensors).map(([name, tensor]) => ({ name, ...numbersOf(name, tensor) }));
  const header = encodeSafetensorsHeader(specs, metadata);
  const bytes = new Uint8Array(header.size);
  bytes.set(header.bytes);
  for (const { spec, offset, length } of header.tensors) {
    if (spec.bytes.byteLength !== length) {
      throw fail(
        "size-mismatch",
        `[${spec.shape.join(", ")}] ${spec.dtype} takes ${length} bytes, it has ${spec.bytes.byteLength}`,
        { tensor: spec.name },
      );
    }
    bytes.set(spec.bytes, offset);
  }
  return bytes;
}

function numbersOf(name: string, tensor: Tensor): NumberTensor {
  if (tensor.dtype !== "string") return tensor;
  throw fail("unsupported", "the format has no strings", { tensor: name, hint: "Write a .npz file" });
}

/** The format's name for a tensor's dtype, the dtype's place among all, and the tensor's bytes. */
function layoutOf({ name, dtype, shape }: SafetensorsSpec): { code: string; order: number; length: number } {
  if (name === METADATA) throw fail("bad-name", "the format reserves that name", { tensor: name });
  const order = CODES.findIndex((known) => known.dtype === dtype);
  const code = CODES[order]?.code;
  if (!code) {
    throw fail("unsupported", `the format has no ${dtype}`, {
      tensor: name,
      hint: "Convert it to a wider type first",
    });
  }
  const length = ((elementCount(shape) ?? Number.NaN) * DTYPE_BITS[dtype]) / 8;
  if (!Number.isSafeInteger(length)) {
    throw fail("size-mismatch", `[${shape.join(", ")}] ${dtype} takes ${length} bytes`, { tensor: name });
  }
  return { code, order, length };
}

/** Encodes the length and the header, padded with spaces. */
function encodeHeader(
  entries: readonly [string, unknown][],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array {
  // Joined by hand: an object would move keys such as "0" to its front.
  const parts = metadata === undefined ? entries : [[METADATA, metadata] as const, ...entries];
  const json = `{${parts.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.byteLength / ALIGNMENT) * ALIGNMENT;
  if (length > MAX_HEADER_LENGTH) {
    throw operationError(FormatError, {
      code: "too-large",
      doing: `write a safetensors header of ${length} bytes`,
      hint: "Readers stop at 100 MB: write several files",
    });
  }
  const bytes = new Uint8Array(PREFIX + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, PREFIX);
  return bytes;
}
