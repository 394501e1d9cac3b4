import type { ZipStyle } from "../../encodings/zip/records.ts";
import { BLOCK_ELEMENTS, type DType, elementCount, tensorBytes } from "../../tensor/dtype.ts";
import { fileErrors } from "../../errors.ts";
import { Rebuild, type TorchType, torchTypeOf } from "./globals.ts";
import { Op } from "./opcodes.ts";
import { PickleWriter } from "./pickle-writer.ts";
import { MAX_NAME_LENGTH } from "./tensors.ts";

/** The archive style of PyTorch. */
export const CHECKPOINT_STYLE: ZipStyle = {
  madeBy: 0,
  needed: 0,
  endMadeBy: (3 << 8) | 30,
  endNeeded: 45,
  date: 0,
  attributes: 0,
  flagged: "all",
  checksums: "behind",
  largest: 2 ** 32 - 2,
  alwaysEnd64: true,
  alignment: 64,
};

const fail = fileErrors({ format: "a checkpoint" });

/** A tensor to write. */
export interface CheckpointSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A file of a checkpoint's archive: bytes, or a tensor's data, little-endian and row-major. */
export type CheckpointFile<T> =
  | { readonly name: string; readonly bytes: Uint8Array }
  | { readonly name: string; readonly tensor: T };

/**
 * Lists the files that `torch.save` writes for an `OrderedDict` of tensors, in order and byte for byte. The last,
 * `.data/serialization_id`, is left out: it holds hashes of the C++ library, in that library's order, and loading does
 * not need it.
 * @param path of the checkpoint: PyTorch names the archive's folder after it
 * @throws FormatError `unsupported` for a dtype that PyTorch does not have, `bad-name`
 */
export function checkpointFiles<T extends CheckpointSpec>(
  path: string,
  tensors: readonly T[],
): CheckpointFile<T>[] {
  const folder = folderOf(path);
  const text = (name: string, value: string): CheckpointFile<T> => {
    return { name: `${folder}/${name}`, bytes: new TextEncoder().encode(value) };
  };
  return [
    { name: `${folder}/data.pkl`, bytes: encodeStateDict(tensors) },
    text(".format_version", "1"),
    text(".storage_alignment", String(CHECKPOINT_STYLE.alignment)),
    text("byteorder", "little"),
    ...tensors.map((tensor, nth) => ({ name: `${folder}/data/${nth}`, tensor })),
    text("version", "3\n"),
  ];
}

/** Names the archive's folder. PyTorch uses ASCII names, and "archive" otherwise. */
function folderOf(path: string): string {
  const name = path.replace(/^.*[\\/]/s, "").replace(/\.[^.]*$/s, "");
  return /^(?!\.*$)[\x20-\x7e]+$/.test(name) ? name : "archive";
}

function encodeStateDict(tensors: readonly CheckpointSpec[]): Uint8Array {
  const out = new PickleWriter();
  out.orderedDict(tensors, (tensor, nth) => {
    const type = typeOf(tensor);
    out.text(tensor.name);
    globalOf(out, type.dtype === undefined ? Rebuild.tensor2 : Rebuild.tensor3);
    out.tuple(type.dtype === undefined ? 6 : 7, () => writeArguments(out, tensor, type, nth));
    out.call();
  });
  return out.finish();
}

/** Writes storage, offset, size and stride; no gradient, and no hooks. */
function writeArguments(
  out: PickleWriter,
  { dtype, shape }: CheckpointSpec,
  type: TorchType,
  nth: number,
): void {
  out.tuple(5, () => {
    out.constant("storage");
    out.global(...type.storage);
    out.text(String(nth));
    out.constant("cpu");
    out.number((type.dtype === undefined ? elementCount(shape) : tensorBytes(dtype, shape)) ?? 0);
  });
  out.op(Op.binpersid);
  out.number(0);
  out.numbers(shape);
  out.numbers(stridesOf(shape));
  out.op(Op.newfalse);
  out.orderedDict([], () => {});
  if (type.dtype !== undefined) out.global("torch", type.dtype);
}

/** Strides in elements; an empty dimension counts as one. */
function stridesOf(shape: readonly number[]): number[] {
  const strides: number[] = [];
  let stride = 1;
  for (const dimension of shape.toReversed()) {
    strides.unshift(stride);
    stride *= Math.max(1, dimension);
  }
  return strides;
}

function typeOf({ name, dtype }: CheckpointSpec): TorchType {
  if (name === "" || name.length > MAX_NAME_LENGTH) {
    throw fail("bad-name", `its name has ${name.length} characters`, {
      tensor: name,
      hint: "Give it another name",
    });
  }
  const type = torchTypeOf(dtype);
  if (type) return type;
  const other = dtype in BLOCK_ELEMENTS ? "Write a .gguf file" : "Write a .safetensors file";
  const hint = `${other}, or convert it to a wider type first`;
  throw fail("unsupported", `PyTorch has no ${dtype}`, { tensor: name, hint });
}

function globalOf(out: PickleWriter, name: string): void {
  const at = name.lastIndexOf(".");
  out.global(name.slice(0, at), name.slice(at + 1));
}
