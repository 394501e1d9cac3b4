import { join } from "node:path";
import type { CompiledBinding, CompiledMethod } from "./backends/compiled-model.ts";
import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import { openFileSource } from "../node/file-source.ts";
import { createSha256 } from "../node/sha256.ts";
import type { Digest } from "../tensor/digest.ts";
import { layoutBytes, type TensorLayout } from "../tensor/tensor-layout.ts";
import { hashWeight } from "../weights/hash-weight.ts";
import { type ExpectedWeight, matchWeights, weightTable } from "../weights/match-weights.ts";
import { rangeWeights } from "../weights/range.ts";

/** Location of a weight in a folder of compiled programs. */
export interface FolderWeight {
  readonly digest: Digest;
  /** Relative to the folder. */
  readonly path: string;
  /** In bytes from the start of the file. */
  readonly offset: number;
  /** Size in bytes. */
  readonly length: number;
}

/** Options of {@link requireFolderWeights}. */
export interface RequireFolderOptions extends ReadOptions {
  /** Hash every weight. By default, only the existence and size of each weight are checked. */
  readonly verify?: boolean | undefined;
}

/**
 * Checks that a folder has every weight of a compiled method.
 * @param table the weights that the folder records
 * @throws WeightMismatchError `missing-weight`, `mismatch`, with every case; LinkError `size-mismatch` for a file that
 * is too short; SourceError
 */
export async function requireFolderWeights(
  folder: string,
  { name: method, partitions }: CompiledMethod,
  table: ReadonlyMap<Digest, FolderWeight>,
  { verify = false, signal }: RequireFolderOptions,
): Promise<void> {
  const bindings = distinct(partitions.flatMap((partition) => partition.bindings));
  const expected = bindings.map(({ weight: name, dtype, shape, digest }) => ({ name, dtype, shape, digest }));
  const recorded = bindings.flatMap((binding): ExpectedWeight[] => {
    const place = table.get(binding.digest);
    return place ? [{ name: binding.weight, ...layoutAt(binding, place) }] : [];
  });
  const match = (given: readonly ExpectedWeight[]): void => {
    matchWeights(expected, weightTable(folder, given), { program: method, path: folder });
  };
  match(recorded);
  const hashed: ExpectedWeight[] = [];
  for (const { name, dtype, shape, digest } of expected) {
    const { path: file, offset, length } = table.get(digest) as FolderWeight;
    const path = join(folder, file);
    await requireEnd(path, name, { digest, offset, length });
    if (!verify) continue;
    const place = { key: name, layout: { dtype, shape, digest }, path, offset, length };
    const source = rangeWeights(folder, [{ ...place, source: () => openFileSource(path) }]);
    const found = await hashWeight(source, name, { createDigest: createSha256, signal });
    hashed.push({ name, dtype, shape, digest: found });
  }
  if (verify) match(hashed);
}

/** Leaves out bindings that are equal to another: several inputs may be bound to a weight. */
function distinct(bindings: readonly CompiledBinding[]): CompiledBinding[] {
  const all = bindings.map((binding) => {
    const { weight, digest, dtype, shape } = binding;
    return [JSON.stringify([weight, digest, dtype, shape]), binding] as const;
  });
  return [...new Map(all).values()];
}

/** The layout of a recorded weight; plain bytes if its size is not that of the binding. */
function layoutAt({ dtype, shape }: CompiledBinding, { length }: FolderWeight): TensorLayout {
  const layout = { dtype, shape };
  return layoutBytes(layout) === length ? layout : { dtype: "uint8", shape: [length] };
}

/** Checks the size of a file: reading a mapped page past the end of a truncated file ends the process. */
async function requireEnd(
  path: string,
  weight: string,
  { digest, offset, length }: Omit<FolderWeight, "path">,
): Promise<void> {
  await using source = await openFileSource(path);
  if (offset + length <= source.size) return;
  const end = `it ends at byte ${offset + length}, past the end of "${path}" at ${source.size}`;
  throw new LinkError("size-mismatch", `Cannot bind weight "${weight}": ${end}`, {
    path,
    tensor: weight,
    offset,
    digest,
  });
}
