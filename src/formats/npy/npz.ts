import { zipSync } from "fflate";
import { FormatError } from "../../errors.ts";
import type { Tensor, Tensors } from "../../model/tensor.ts";
import { failureIn } from "./failure.ts";
import { parseArray } from "./parse.ts";
import { unzip } from "./unzip.ts";
import { writeNpy } from "./write.ts";

const SUFFIX = ".npy";
/** Offsets past this need zip64. */
const LARGEST = 2 ** 32 - 1;

/**
 * Parses a NumPy .npz archive, compressed or not, into its tensors by name; names may have slashes in them.
 * Tensors that are stored as they are come as views, not copied.
 * @param name of the file, for errors
 * @throws FormatError what `parseNpy` throws, and `duplicate`, `corrupted`; `too-large` where the archive would
 * unpack to over 2 GiB
 */
export function parseNpz(bytes: Uint8Array, name: string): Record<string, Tensor> {
  const tensors = unzip(bytes, name).map((entry): [string, Tensor] => {
    if (!entry.name.endsWith(SUFFIX)) {
      throw new FormatError("malformed", `Cannot read "${name}": "${entry.name}" in it is no .npy file`, {
        path: name,
        offset: entry.start,
      });
    }
    const tensor = entry.name.slice(0, -SUFFIX.length);
    const place = (offset: number): number => (entry.stored ? entry.start + offset : entry.start);
    return [tensor, parseArray(entry.bytes, failureIn(name, tensor, place))];
  });
  return Object.fromEntries(tensors);
}

/**
 * Writes tensors as `numpy.savez` does, uncompressed; the same tensors give the same bytes.
 * @throws FormatError what `writeNpy` throws; `too-large` from 4 GiB; `bad-name` for a name over 65,531 bytes
 */
export function writeNpz(tensors: Tensors): Uint8Array {
  const files: Record<string, Uint8Array> = {};
  let total = 0;
  for (const [name, tensor] of Object.entries(tensors)) {
    const file = writeNpy(tensor, name);
    const encoded = new TextEncoder().encode(name + SUFFIX).byteLength;
    if (encoded > 0xffff) {
      throw new FormatError(
        "bad-name",
        `Cannot write tensor "${name.slice(0, 80)}…" as .npz: its name is too long`,
      );
    }
    // A local header, a directory entry, and the name in each.
    total += file.byteLength + 76 + 2 * encoded;
    if (total > LARGEST) {
      throw new FormatError("too-large", `Cannot write ${total} bytes as .npz: it holds less than 4 GiB`, {
        hint: "Write a .safetensors file",
      });
    }
    files[name + SUFFIX] = file;
  }
  // 1980 is the earliest that zip knows; without a date the archive would differ each time.
  return zipSync(files, { level: 0, mtime: new Date(1980, 0, 1) });
}
