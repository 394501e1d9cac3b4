import { eachField } from "../../encodings/protobuf/fields.ts";
import type { SparseBytes } from "../../encodings/protobuf/sparse-bytes.ts";
import { fileErrors } from "../../errors.ts";
import { type ByteSource, memorySource, type ReadOptions, sliceSource } from "../../io/byte-source.ts";
import { decodedSource } from "../../io/decoded-source.ts";
import type { LooseTensor } from "../../model/draft.ts";
import { type DType, tensorBytes } from "../../tensor/dtype.ts";
import { varintArrayOf } from "../../tensor/varint-dtype.ts";
import type { OnnxModel, OnnxTensor } from "./graph.ts";
import { TensorFields } from "./schema.ts";
import { varintSpelling } from "./varint-spelling.ts";

/** Fields with elements of a fixed width. */
const FIXED: readonly number[] = [TensorFields.float, TensorFields.double];
const VARINTS: readonly number[] = [TensorFields.int32, TensorFields.int64, TensorFields.uint64];

/**
 * Finds the initializers that stay in their program: scalars, shapes, and data in unpacked fields. Whoever asks for
 * constants gets them too.
 * @param taken names of weights and of constants in other files
 */
export async function looseInitializers(
  source: ByteSource,
  view: SparseBytes,
  model: OnnxModel,
  taken: ReadonlySet<string>,
  options: ReadOptions,
): Promise<LooseTensor[]> {
  const loose: LooseTensor[] = [];
  const names = new Set(taken);
  for (const tensor of model.tensors) {
    const { role, name, dtype, shape } = tensor;
    if (role !== "initializer" || names.has(name)) continue;
    names.add(name);
    if (dtype === "string") loose.push({ name, form: "of strings", isConstant: true });
    else {
      const open = await openerOf(source, view, tensor, dtype, options);
      const form = "a constant of its program";
      loose.push({ name, form, isConstant: true, ...(open && { content: { dtype, shape, open } }) });
    }
  }
  return loose;
}

async function openerOf(
  source: ByteSource,
  view: SparseBytes,
  tensor: OnnxTensor,
  dtype: DType,
  options: ReadOptions,
): Promise<(() => ByteSource) | undefined> {
  const { data, shape, name } = tensor;
  const size = tensorBytes(dtype, shape);
  if (data.kind === "external" || size === undefined) return undefined;
  if (data.kind === "plain") return () => sliceSource(source, data.offset, data.length);
  // Six-bit floats are stored one per varint, but packed in bytes.
  if (dtype.startsWith("float6") && size > 0) return undefined;
  if (data.kind === "other") {
    const bytes = unpackedBytes(view, tensor, dtype, size);
    return bytes && (() => memorySource(bytes, source.name));
  }
  const { offset, length } = data;
  const varint = await varintSpelling(source, data, dtype, options);
  const wrongSize = (found: number | "more"): Error => {
    const reason = `its shape takes ${size} bytes, its data has ${found}`;
    return fileErrors(source)("size-mismatch", reason, { tensor: name, offset });
  };
  return () =>
    decodedSource({ source: sliceSource(source, offset, length), varint, size, offset, wrongSize });
}

/** The elements of a tensor that has each in a field of its own. */
function unpackedBytes(
  view: SparseBytes,
  { frame }: OnnxTensor,
  dtype: DType,
  size: number,
): Uint8Array | undefined {
  const bytes = new Uint8Array(size);
  const { width } = varintArrayOf(dtype);
  let filled = 0;
  eachField(view, frame.start, frame.end, ({ number, value, body, end }) => {
    if (end === body) return;
    if (FIXED.includes(number)) {
      const element = view.slice(body, end - body);
      bytes.set(element, filled);
      filled += element.byteLength;
    } else if (VARINTS.includes(number) && filled + width <= size) {
      for (let byte = 0; byte < width; byte++) {
        bytes[filled++] = Number((value >> BigInt(8 * byte)) & 0xffn);
      }
    }
  });
  return filled === size ? bytes : undefined;
}
