import { checkRange } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import type { NumberTensor, Tensor, Tensors } from "../tensor/tensor.ts";
import { layoutBytes, formatLayout } from "../tensor/tensor-layout.ts";
import { noSuchWeight, weightBytes, type WeightLayout, type WeightSource } from "./weight-source.ts";

/**
 * Makes a source of tensors in the caller's memory, which are read without a copy.
 * @throws LinkError `size-mismatch` for a tensor whose bytes do not have the size of its layout, `unsupported` for
 * strings
 */
export function memoryWeights(tensors: Tensors, name = "memory"): WeightSource {
  const table = new Map(
    Object.entries(tensors).map(([key, given]) => {
      const tensor = numbersOf(name, key, given);
      return [key, { tensor, layout: layoutOf(name, key, tensor) }];
    }),
  );
  const bytesOf = (key: string): Uint8Array => {
    const entry = table.get(key);
    if (!entry) throw noSuchWeight({ name }, key);
    const { bytes } = entry.tensor;
    if (bytes.byteLength === entry.layout.length) return bytes;
    // Memory that was transferred to another thread has length 0 here.
    throw new LinkError(
      "released",
      `Cannot use weight "${key}" of "${name}": its memory was transferred to another thread`,
      {
        path: name,
        tensor: key,
      },
    );
  };
  return {
    name,
    keys: () => [...table.keys()],
    layout: (key) => table.get(key)?.layout,
    async open(key) {
      const size = bytesOf(key).byteLength;
      return weightBytes({
        name,
        size,
        async read(offset, length, options) {
          options?.signal?.throwIfAborted();
          checkRange({ name, size }, offset, length);
          return bytesOf(key).subarray(offset, offset + length);
        },
      });
    },
  };
}

function numbersOf(name: string, key: string, tensor: Tensor): NumberTensor {
  if (tensor.dtype !== "string") return tensor;
  throw new LinkError("unsupported", `Cannot use weight "${key}" of "${name}": its elements are strings`, {
    path: name,
    tensor: key,
  });
}

function layoutOf(name: string, key: string, { dtype, shape, bytes }: NumberTensor): WeightLayout {
  const length = layoutBytes({ dtype, shape });
  if (length === bytes.byteLength) return { dtype, shape, length, digest: undefined };
  const takes = length === undefined ? "no tensor has this layout" : `that takes ${length} bytes`;
  throw new LinkError(
    "size-mismatch",
    `Cannot use weight "${key}" of "${name}" as ${formatLayout({ dtype, shape })}: ${takes}, it has ${bytes.byteLength}`,
    { path: name, tensor: key },
  );
}
