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

/** Inputs are held in memory; a larger file is surely a model, not an input. */
const MAX_INPUT_BYTES = 2 ** 31;

/**
 * Reads input tensors from a file, by its ending: .npz, .safetensors or .json with a tensor for each input, or .npy
 * for one (`NAME=FILE.npy`, or the model's only input). `NAME=FILE` with the other kinds is that file's only tensor.
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
      hint: "inputs are .npy, .npz, .safetensors or .json files",
    });
  }
  if (name === undefined || Object.hasOwn(tensors, name)) return tensors;
  const [only, ...more] = Object.values(tensors);
  if (only && more.length === 0) return { [name]: only };
  throw new UsageError("usage", `Cannot choose a tensor of "${file}" for "${name}"`, {
    path: file,
    tensor: name,
  });
}

/** Reads one input given as `NAME=JSON`. */
export function parseInput(text: string, signature: Signature): Record<string, Tensor> {
  const at = text.indexOf("=");
  if (at <= 0) {
    throw new UsageError("usage", `Cannot read input "${text}"`, {
      hint: "write it as NAME=JSON: input_ids=[[1,2,3]]",
    });
  }
  const name = text.slice(0, at);
  return {
    [name]: fromJson(parseStrictJson(text.slice(at + 1), `--input ${name}`), portOf(name, signature)),
  };
}

/** Writes output tensors in the kind of file that the path's ending says. */
export async function writeTensors(path: string, tensors: Tensors): Promise<void> {
  await writeFileAtomically(path, encode(path, tensors)).catch((cause: unknown) => {
    throw fileError(path, "write", cause);
  });
}

/** Tensors as nested JSON arrays. */
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
    hint: "name a .npz, .safetensors or .json file",
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
      hint: 'write {"input_ids": [[1, 2, 3]]}',
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
    hint: `it has ${names}`,
  });
}

function onlyInput(file: string, signature: Signature): string {
  const [only, ...more] = signature.inputs;
  if (only && more.length === 0) return only.name;
  const names = signature.inputs.map((each) => each.name).join(", ");
  throw new UsageError("usage", `Cannot tell which input "${file}" is`, {
    path: file,
    hint: `write NAME=${file}: ${names}`,
  });
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
