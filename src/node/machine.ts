import { readFileSync } from "node:fs";

/** Instruction sets that engines choose kernels by, under the names of Linux. */
const FEATURES: readonly string[] = [
  "avx",
  "avx2",
  "avx512f",
  "avx512bw",
  "avx512vl",
  "avx512_vnni",
  "avx512_bf16",
  "avx512_fp16",
  "avx_vnni",
  "amx_tile",
  "amx_int8",
  "amx_bf16",
  "fma",
  "f16c",
  "asimd",
  "asimdhp",
  "asimddp",
  "i8mm",
  "bf16",
  "sve",
  "sve2",
];

/**
 * Returns operating system and architecture, and the {@link FEATURES} of the processor; none on other systems than
 * Linux.
 */
export function thisMachine(): { readonly target: string; readonly cpu: readonly string[] } {
  return { target: `${process.platform}-${process.arch}`, cpu: cpuFeatures() };
}

function cpuFeatures(): string[] {
  let text: string;
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return [];
  }
  const [, flags = ""] = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(text) ?? [];
  const present = new Set(flags.split(" "));
  return FEATURES.filter((feature) => present.has(feature));
}
