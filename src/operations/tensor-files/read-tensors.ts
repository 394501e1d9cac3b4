import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { parseStrictJson } from "../../encodings/json.ts";
import { SourceError, UsageError } from "../../errors.ts";
import { parseNpz } from "../../formats/npy/npz.ts";
import { parseNpy } from "../../formats/npy/parse.ts";
import { parseSafetensors } from "../../formats/safetensors/parse.ts";
import { fileError } from "../../node/file-source.ts";
import type { Signature } from "../../tensor/signature.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { inputFromJson } from "./input-from-json.ts";

/** Limit of an input file. Inputs are held in memory, and a larger file is probably a model. */
const MAX_INPUT_BYTES = 2 ** 31;

/** Options of {@link readTensors}. */
export interface ReadTensorsOptions {
  /** The input that the file's only tensor is for; each tensor is for the input of its name unless given. */
  readonly name?: string | undefined;
}

/**
 * Reads input tensors from a file, by its ending: .npz, .safetensors or .json with a tensor for each input, or .npy
 * for one (the named one, or the model's only input).
 * @param signature that of the model: JSON gets its dtypes from it
 * @throws UsageError for a file of another kind, or whose inputs are unclear; FormatError; SourceError, `too-large` over
 * 2 GiB
 */
export async function readTensors(
  path: string,
  signature: Signature,
  { name }: ReadTensorsOptions = {},
): Promise<Record<string, Tensor>> {
  const bytes = await readInput(path);
  const kind = extname(path).toLowerCase();
  if (kind === ".npy") return { [name ?? onlyInput(path, signature)]: parseNpy(bytes, path) };
  let tensors: Record<string, Tensor>;
  if (kind === ".npz") tensors = parseNpz(bytes, path);
  else if (kind === ".safetensors") tensors = parseSafetensors(bytes, path);
  else if (kind === ".json") tensors = parseJson(new TextDecoder().decode(bytes), path, signature, name);
  else {
    throw new UsageError("usage", `Cannot read inputs from "${path}"`, {
      path,
      hint: "Give a .npy, .npz, .safetensors or .json file",
    });
  }
  if (name === undefined || Object.hasOwn(tensors, name)) return tensors;
  const [only, ...more] = Object.values(tensors);
  if (only && more.length === 0) return { [name]: only };
  throw new UsageError("usage", `Cannot choose a tensor of "${path}" for "${name}"`, { path, tensor: name });
}

function parseJson(
  text: string,
  path: string,
  signature: Signature,
  name: string | undefined,
): Record<string, Tensor> {
  const value = parseStrictJson(text, path);
  if (name !== undefined && Array.isArray(value)) return { [name]: inputFromJson(value, name, signature) };
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError("usage", `Cannot read inputs from "${path}": it is not an object of tensors`, {
      path,
      hint: 'Write {"input_ids": [[1, 2, 3]]}',
    });
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, inputFromJson(each, key, signature)]),
  );
}

function onlyInput(path: string, signature: Signature): string {
  const [only, ...more] = signature.inputs;
  if (only && more.length === 0) return only.name;
  const names = signature.inputs.map((each) => each.name).join(", ");
  throw new UsageError(
    "usage",
    `Cannot choose an input for "${path}": the model has ${signature.inputs.length}`,
    {
      path,
      hint: `Write NAME=${path} with one of the names ${names}`,
    },
  );
}

async function readInput(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > MAX_INPUT_BYTES)
      throw new SourceError("too-large", `Cannot read "${path}": it is over 2 GiB`, { path });
    return new Uint8Array(await readFile(path));
  } catch (error) {
    throw error instanceof SourceError ? error : fileError(path, "read", error);
  }
}
