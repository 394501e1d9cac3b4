import { type ErrorCode, FormatError } from "../../errors.ts";
import { DTYPE_BITS, elementCount } from "../../model/dtype.ts";
import type { NumberTensor, Tensor, Tensors } from "../../model/tensor.ts";
import { DTYPES, LONGEST_HEADER, METADATA, PREFIX } from "./schema.ts";

/** Data starts at a multiple of this, so that a mapped file can be read in place. */
const ALIGNMENT = 8;
const CODES = [...DTYPES].map(([code, dtype]) => ({ code, dtype }));

interface Item {
  readonly name: string;
  readonly tensor: NumberTensor;
  readonly code: string;
  /** The dtype's place among all. */
  readonly order: number;
}

/**
 * Writes tensors as a safetensors file, byte for byte as the reference implementation orders and pads it: by dtype
 * from the widest, then by name.
 * @param metadata the file's own remarks; readers of PyTorch weights ask for `{ format: "pt" }`
 * @throws FormatError `unsupported` for strings and for types that the format does not have; `size-mismatch`,
 * `bad-name`, `too-large`
 */
export function writeSafetensors(tensors: Tensors, metadata?: Readonly<Record<string, string>>): Uint8Array {
  const items = Object.entries(tensors).map(([name, tensor]) => itemOf(name, tensor));
  items.sort((a, b) => b.order - a.order || (a.name < b.name ? -1 : 1));
  let size = 0;
  const entries = items.map(({ name, tensor, code }): [string, unknown] => {
    const begin = size;
    size += tensor.bytes.byteLength;
    return [name, { dtype: code, shape: tensor.shape, data_offsets: [begin, size] }];
  });
  const header = encodeHeader(entries, metadata);
  const bytes = new Uint8Array(header.byteLength + size);
  bytes.set(header);
  let at = header.byteLength;
  for (const { tensor } of items) {
    bytes.set(tensor.bytes, at);
    at += tensor.bytes.byteLength;
  }
  return bytes;
}

function itemOf(name: string, tensor: Tensor): Item {
  const refuse = (code: ErrorCode, reason: string, hint?: string): FormatError =>
    new FormatError(code, `Cannot write tensor "${name}" as safetensors: ${reason}`, { tensor: name, hint });
  if (name === METADATA) throw refuse("bad-name", "the format keeps that name for itself");
  const { dtype, shape } = tensor;
  if (dtype === "string") throw refuse("unsupported", "the format has no strings", "Write a .npz file");
  const order = CODES.findIndex((known) => known.dtype === dtype);
  const code = CODES[order]?.code;
  if (!code) throw refuse("unsupported", `the format has no ${dtype}`, "Convert it to a wider type first");
  const size = ((elementCount(shape) ?? Number.NaN) * DTYPE_BITS[dtype]) / 8;
  if (size !== tensor.bytes.byteLength) {
    throw refuse(
      "size-mismatch",
      `[${shape.join(", ")}] ${dtype} takes ${size} bytes, it has ${tensor.bytes.byteLength}`,
    );
  }
  return { name, tensor, code, order };
}

/** The length and the header, padded with spaces. */
function encodeHeader(
  entries: readonly [string, unknown][],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array {
  // Spelled by hand: an object would move keys such as "0" to its front.
  const parts = metadata === undefined ? entries : [[METADATA, metadata] as const, ...entries];
  const json = `{${parts.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.byteLength / ALIGNMENT) * ALIGNMENT;
  if (length > LONGEST_HEADER) {
    throw new FormatError("too-large", `Cannot write a safetensors header of ${length} bytes`, {
      hint: "Its readers stop at 100 MB: write several files",
    });
  }
  const bytes = new Uint8Array(PREFIX + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, PREFIX);
  return bytes;
}
