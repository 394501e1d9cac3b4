import { ONNX_FORM } from "./backends/backend.ts";
import type { CompiledFile } from "./backends/compiled-file.ts";
import type { CompiledMethod, CompiledPartition } from "./backends/compiled-model.ts";
import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { bindSymbolic, symbolicWeights } from "../formats/onnx/symbolic.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { encodeJson } from "../model/manifest.ts";
import { companionsOf, type StoredModel } from "../model/stored-model.ts";
import { sha256 } from "../node/sha256.ts";
import {
  type LinkedFile,
  type ViewOptions,
  type ViewResult,
  writeView,
  type WrittenFile,
} from "../link/view.ts";
import { COMPILED_RECORD, folderRecordJson } from "./compiled-folder.ts";
import type { FolderWeight } from "./require-folder-weights.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { readBlob } from "../store/read-blob.ts";

/**
 * Writes a compiled model as a folder that needs no store: programs, links to the weights, and the record.
 * @throws SourceError `exists`
 */
export async function writeCompiled(
  store: LocalStore,
  stored: StoredModel,
  { model, parts }: CompiledFile,
  path: string,
  options: ViewOptions = {},
): Promise<ViewResult> {
  const weights = new Map<Digest, FolderWeight>();
  const links = new Map<Digest, LinkedFile>();
  const written: WrittenFile[] = [];
  const files = new Map<Digest, string>();
  const write = (name: string, bytes: Uint8Array): Digest => {
    const digest = sha256(bytes);
    const known = files.get(digest);
    if (known === undefined) {
      files.set(digest, name);
      written.push({ path: name, bytes });
    }
    return digest;
  };

  const place = (partition: CompiledPartition): void => {
    for (const { digest } of partition.bindings) {
      const { blob, offset, length } = stored.locations.get(digest) as NonNullable<
        ReturnType<typeof stored.locations.get>
      >;
      const file = `weights/${digestHex(blob)}`;
      weights.set(digest, { digest, path: file, offset, length });
      links.set(blob, { path: file, blob: store.blobPath(blob) });
    }
  };
  const bound = (method: CompiledMethod, partition: CompiledPartition, index: number): CompiledPartition => {
    place(partition);
    const base = fileBase(model.methods, method);
    const name = method.partitions.length === 1 ? base : `${base}.${index}`;
    const program = parts.get(partition.program.digest) as Uint8Array;
    const isOnnx = partition.form === ONNX_FORM;
    const bytes = isOnnx ? bindToFolder(name, program, partition, weights) : program;
    const digest = write(`${name}.${isOnnx ? "onnx" : "bin"}`, bytes);
    return { ...partition, program: { digest, size: bytes.byteLength } };
  };
  const methods = model.methods.map((method) => ({
    ...method,
    partitions: method.partitions.map((partition, index) => bound(method, partition, index)),
  }));
  for (const { digest } of model.data) {
    write(`data/${digestHex(digest)}`, parts.get(digest) as Uint8Array);
  }
  const record = {
    compiled: { ...model, methods },
    files: [...files].map(([digest, file]) => ({ digest, path: file })),
    weights: [...weights.values()],
  };
  written.push({ path: COMPILED_RECORD, bytes: encodeJson(folderRecordJson(record)) });
  const taken = new Set(written.map((file) => file.path));
  for (const file of companionsOf(stored)) {
    if (!taken.has(file.path)) written.push({ path: file.path, bytes: await readBlob(store, file.skeleton) });
  }
  return writeView(path, [...links.values()], written, options);
}

/** Unique file name for a method. */
function fileBase(methods: readonly CompiledMethod[], method: CompiledMethod): string {
  const plain = ({ name }: CompiledMethod): string => name.replaceAll(/[^\w-]/g, "_");
  const base = plain(method);
  const same = methods.filter((each) => plain(each) === base);
  return same.length === 1 ? base : `${base}-${methods.indexOf(method)}`;
}

function bindToFolder(
  name: string,
  program: Uint8Array,
  partition: CompiledPartition,
  weights: ReadonlyMap<Digest, FolderWeight>,
): Uint8Array {
  const view = new SparseBytes(name, program);
  const graph = parseOnnx(view);
  const digests = new Map(partition.bindings.map((binding) => [binding.weight, binding.digest]));
  const inputs = new Map(symbolicWeights(graph).map((each) => [each.tensor.name, each.name]));
  return bindSymbolic(view, graph, (input) => {
    const digest = digests.get(inputs.get(input) ?? input) as Digest;
    const { path: location, offset, length } = weights.get(digest) as FolderWeight;
    return { kind: "file", location, offset, length };
  });
}
