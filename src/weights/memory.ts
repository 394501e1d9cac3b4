import { LinkError } from "../errors.ts";
import type { NumberTensor } from "../tensor/tensor.ts";
import { CHUNK } from "../io/stream.ts";
import { checkChunk } from "../io/chunks.ts";
import {
  checkTarget,
  freeableData,
  type WeightSource,
  type WeightLayout,
  noSuchWeight,
} from "./weight-source.ts";
import { layoutBytes, formatLayout } from "../tensor/tensor-layout.ts";

/**
 * Weights in memory that somebody else owns: handed out as they are, without a copy.
 * @throws LinkError `size-mismatch` for bytes that are not those of the shape
 */
export function memoryWeights(
  tensors: Readonly<Record<string, NumberTensor>>,
  name = "memory",
): WeightSource {
  const table = new Map(
    Object.entries(tensors).map(([key, tensor]) => [key, { tensor, layout: layoutOf(name, key, tensor) }]),
  );
  const bytesOf = (key: string): Uint8Array => {
    const entry = table.get(key);
    if (!entry) throw noSuchWeight(data, key);
    const { bytes } = entry.tensor;
    if (bytes.byteLength === entry.layout.length) return bytes;
    // Memory that is transferred to another thread has no bytes here any more.
    throw new LinkError("released", `Cannot use weight "${key}" of "${name}": its memory was given away`, {
      path: name,
      tensor: key,
    });
  };
  const data: WeightSource = {
    name,
    keys: () => [...table.keys()],
    layout: (key) => table.get(key)?.layout,
    async data(key, options) {
      options?.signal?.throwIfAborted();
      return freeableData(key, bytesOf(key));
    },
    async loadInto(key, target, options) {
      options?.signal?.throwIfAborted();
      const bytes = bytesOf(key);
      checkTarget(data, key, bytes.byteLength, target);
      target.set(bytes);
    },
    stream(key, options = {}) {
      checkChunk(options);
      bytesOf(key);
      const { chunk = CHUNK, signal } = options;
      return (async function* () {
        const { byteLength } = bytesOf(key);
        for (let at = 0; at < byteLength; at += chunk) {
          signal?.throwIfAborted();
          yield bytesOf(key).subarray(at, at + chunk);
        }
      })();
    },
    locate: async () => undefined,
    remote: async () => undefined,
  };
  return data;
}

function layoutOf(name: string, key: string, { dtype, shape, bytes }: NumberTensor): WeightLayout {
  const length = layoutBytes({ dtype, shape });
  if (length === bytes.byteLength) return { dtype, shape, length, digest: undefined };
  const takes = length === undefined ? "no tensor can be that" : `that takes ${length} bytes`;
  throw new LinkError(
    "size-mismatch",
    `Cannot use weight "${key}" of "${name}" as ${formatLayout({ dtype, shape })}: ${takes}, it has ${bytes.byteLength}`,
    { path: name, tensor: key },
  );
}
