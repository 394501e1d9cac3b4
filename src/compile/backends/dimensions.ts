import type { Partition } from "./backend.ts";
import type { CompileRecord } from "./compiled-model.ts";

/** Lists the named dimensions of the inputs of partitions without bounds, for a compiler that supports all sizes. */
export function freeDimensions(partitions: readonly Partition[]): CompileRecord["dimensions"] {
  const ports = partitions.flatMap((partition) => partition.signature.inputs);
  const names = ports.flatMap((port) => (port.shape ?? []).filter((dim) => typeof dim === "string"));
  return [...new Set(names)].filter((name) => name !== "").map((name) => ({ name, from: 0, to: null }));
}
