import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { parseStrictJson } from "../encodings/json.ts";
import type { Port, Signature } from "../engines/engine.ts";
import { SourceError, UsageError } from "../errors.ts";
import { parseNpz, writeNpz } from "../formats/npy/npz.ts";
import { parseNpy } from "../formats/npy/parse.ts";
import { writeNpy } from "../formats/npy/write.ts";
import { parseSafetensors } from "../formats/safetensors/parse.ts";
import { writeSafetensors } from "../formats/safetensors/write.ts";
import { type JsonTensor, tensorFromJson, tensorToJson } from "../tensor/json-tensor.ts";
import type { Tensor, Tensors } from "../tensor/tensor.ts";
import { writeFileAtomically } from "../node/atomic-write.ts";
import { fileError } from "../node/file-source.ts";

/** Limit of an input file. Inputs are held in memory, and a larger file is probably a model. */
const MAX_INPUT_BYTES = 2 ** 31;

/**
 * Reads input tensors from a file, by its extension. A .npz, .safetensors or .json file has a tensor for each input. A
 * .npy file has one tensor, for the input of `NAME=FILE.npy` or for the model's only input. With the other extensions,
 * `NAME=FILE` takes the tensor called NAME of that file, or its only tensor.
 * @throws UsageError, FormatError, SourceError
 */
export async function readTensors(argument: string, signature: Signature): Promise<Record<string, Tensor>> {
  const [, name, path] = /^([^=/\\]+)=(.+)$/s.exec(argument) ?? [undefined, undefined, argument];
  const file = path ?? argument;
  const bytes = await readInput(file);
  const kind = extname(file).toLowerCase();
  if (kind === ".npy") return { [name ?? onlyInput(file, signature)]: parseNpy(bytes, file) };
  let tensors: Record<string, Tensor>;
  if (kind === ".npz") tensors = parseNpz(bytes, file);
  else if (kind === ".safetensors") tensors = parseSafetensors(bytes, file);
  else if (kind === ".json") tensors = parseJson(new TextDecoder().decode(bytes), file, signature, name);
  else {
    throw new UsageError("usage", `Cannot read inputs from "${file}"`, {
      path: file,
      hint: "Give a .npy, .npz, .safetensors or .json file",
    });
  }
  if (name === undefined || Object.hasOwn(tensors, name)) return tensors;
  const [only, ...more] = Object.values(tensors);
  if (only && more.length === 0) return { [name]: only };
  const count = Object.keys(tensors).length;
  throw new UsageError(
    "usage",
    `Cannot choose a tensor for "${name}": "${file}" has ${count} of other names`,
    {
      path: file,
      tensor: name,
    },
  );
}

/**
 * Parses one input given as `NAME=JSON`.
 * @throws UsageError, FormatError
 */
export function parseInput(text: string, signature: Signature): Record<string, Tensor> {
  const at = text.indexOf("=");
  if (at <= 0) {
    throw new UsageError("usage", `Cannot read input "${text}"`, {
      hint: "Write NAME=JSON, such as input_ids=[[1,2,3]]",
    });
  }
  const name = text.slice(0, at);
  return {
    [name]: fromJson(parseStrictJson(text.slice(at + 1), `--input ${name}`), portOf(name, signature)),
  };
}

/**
 * Writes output tensors to a file whose format the path's extension selects.
 * @throws UsageError for another extension; SourceError
 */
export async function writeTensors(path: string, tensors: Tensors): Promise<void> {
  await writeFileAtomically(path, encode(path, tensors)).catch((cause: unknown) => {
    throw fileError(path, "write", cause);
  });
}

/** Converts tensors to nested JSON arrays. */
export function tensorsToJson(tensors: Tensors): Record<string, JsonTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensorToJson(tensor)]));
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

function parseJson(
  text: string,
  file: string,
  signature: Signature,
  name: string | undefined,
): Record<string, Tensor> {
  const value = parseStrictJson(text, file);
  if (name !== undefined && Array.isArray(value)) return { [name]: fromJson(value, portOf(name, signature)) };
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError("usage", `Cannot read inputs from "${file}": it is not an object of tensors`, {
      path: file,
      hint: 'Write {"input_ids": [[1, 2, 3]]}',
    });
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, fromJson(each, portOf(key, signature))]),
  );
}

function fromJson(value: unknown, { name, dtype }: Port): Tensor {
  if (dtype === undefined)
    throw new UsageError("usage", `Cannot feed "${name}": it is not a tensor`, { tensor: name });
  return tensorFromJson(value, dtype, name);
}

function portOf(name: string, signature: Signature): Port {
  const port = signature.inputs.find((each) => each.name === name);
  if (port) return port;
  const names = signature.inputs.map((each) => each.name).join(", ");
  throw new UsageError("usage", `Cannot feed "${name}": the model has no such input`, {
    tensor: name,
    hint: `Use one of its inputs: ${names}`,
  });
}

function onlyInput(file: string, signature: Signature): string {
  const [only, ...more] = signature.inputs;
  if (only && more.length === 0) return only.name;
  const names = signature.inputs.map((each) => each.name).join(", ");
  throw new UsageError(
    "usage",
    `Cannot choose an input for "${file}": the model has ${signature.inputs.length}`,
    {
      path: file,
      hint: `Write NAME=${file} with one of the names ${names}`,
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
