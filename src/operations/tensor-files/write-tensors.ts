import { extname } from "node:path";
import { UsageError } from "../../errors.ts";
import { writeNpz } from "../../formats/npy/npz.ts";
import { writeNpy } from "../../formats/npy/write.ts";
import { writeSafetensors } from "../../formats/safetensors/write.ts";
import { writeFileAtomically } from "../../node/atomic-write.ts";
import { fileError } from "../../node/file-source.ts";
import { tensorsToJson } from "../../tensor/json-tensor.ts";
import type { Tensors } from "../../tensor/tensor.ts";

/**
 * Writes tensors to a file, by its ending: .npz, .safetensors or .json, or .npy for one tensor. A file that is there is
 * replaced.
 * @throws UsageError for another kind, or several tensors as .npy; SourceError
 */
export async function writeTensors(path: string, tensors: Tensors): Promise<void> {
  await writeFileAtomically(path, encode(path, tensors)).catch((cause: unknown) => {
    throw fileError(path, "write", cause);
  });
}

function encode(path: string, tensors: Tensors): Uint8Array {
  const kind = extname(path).toLowerCase();
  if (kind === ".npz") return writeNpz(tensors);
  if (kind === ".safetensors") return writeSafetensors(tensors);
  if (kind === ".json") return new TextEncoder().encode(`${JSON.stringify(tensorsToJson(tensors))}\n`);
  const [only, ...more] = Object.values(tensors);
  if (kind === ".npy" && only && more.length === 0) return writeNpy(only);
  throw new UsageError("usage", `Cannot write ${Object.keys(tensors).length} outputs to "${path}"`, {
    path,
    hint: "Give a .npz, .safetensors or .json file",
  });
}
