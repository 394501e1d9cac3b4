import type { Partition } from "./backend.ts";
import type { CompileRecord } from "./compiled-model.ts";

/** The named dimensions of what partitions take, for a compiler that leaves them all open. */
export function freeDimensions(partitions: readonly Partition[]): CompileRecord["dimensions"] {
  const ports = partitions.flatMap((partition) => partition.signature.inputs);
  const names = ports.flatMap((port) => (port.shape ?? []).filter((dim) => typeof dim === "string"));
  return [...new Set(names)].filter((name) => name !== "").map((name) => ({ name, from: 0, to: null }));
}
