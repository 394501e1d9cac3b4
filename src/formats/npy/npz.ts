import type { Tensor, Tensors } from "../../tensor/tensor.ts";
import { layOutZip } from "../../encodings/zip/layout.ts";
import { NPZ_STYLE, npzEntryNames } from "./archive.ts";
import { crc32 } from "../../encodings/zip/crc32.ts";
import { fileErrors, type FileFail, FormatError, operationError } from "../../errors.ts";
import { SUFFIX } from "./schema.ts";
import { parseArray } from "./parse.ts";
import { unzip } from "./unzip.ts";
import { writeNpy } from "./write.ts";

/** Largest typed array that every JavaScript engine supports, in bytes. */
const LARGEST = 2 ** 32 - 1;

/**
 * Parses a NumPy .npz archive, compressed or not, into its tensors by name. Names may contain slashes. Uncompressed
 * tensors are views, not copies.
 * @param name names the file in errors
 * @throws FormatError what `parseNpy` throws, and `duplicate`, `corrupted`; `too-large` if the archive unpacks to over
 * 2 GiB
 */
export function parseNpz(bytes: Uint8Array, name: string): Record<string, Tensor> {
  const fail = fileErrors({ name });
  const tensors = unzip(bytes, name).map((entry): [string, Tensor] => {
    if (!entry.name.endsWith(SUFFIX)) {
      throw fail("malformed", `"${entry.name}" in it is no .npy file`, { offset: entry.start });
    }
    const tensor = entry.name.slice(0, -SUFFIX.length);
    // Offsets in a compressed array have no place in the file.
    const inArray: FileFail = (code, reason, { offset = 0, hint } = {}) =>
      fail(code, reason, { tensor, offset: entry.start + (entry.stored ? offset : 0), hint });
    return [tensor, parseArray(entry.bytes, inArray)];
  });
  return Object.fromEntries(tensors);
}

/**
 * Encodes tensors byte for byte as `numpy.savez`: uncompressed, without the time.
 * @throws FormatError what `writeNpy` and `npzEntryNames` throw; `too-large` from 4 GiB
 */
export function writeNpz(tensors: Tensors): Uint8Array {
  const names = npzEntryNames(Object.keys(tensors));
  const arrays = Object.entries(tensors).map(([name, tensor]) => writeNpy(tensor, name));
  const files = arrays.map(({ byteLength: size }, nth) => ({ name: names[nth] as string, size }));
  const { starts, frames, size } = layOutZip(files, NPZ_STYLE);
  if (size > LARGEST) {
    throw operationError(FormatError, {
      code: "too-large",
      doing: `write ${size} bytes as .npz`,
      reason: "that does not fit into memory",
      hint: "Write several files",
    });
  }
  const bytes = new Uint8Array(size);
  for (const [nth, array] of arrays.entries()) bytes.set(array, starts[nth]);
  const crcs = arrays.map((array) => crc32(array));
  for (const { offset, encode } of frames)
    bytes.set(
      encode((nth) => crcs[nth] as number),
      offset,
    );
  return bytes;
}
