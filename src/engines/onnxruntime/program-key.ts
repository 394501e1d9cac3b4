import { createHash } from "node:crypto";
import type { LinkPlan } from "../../model/link-plan.ts";
import type { CreateSettings } from "./protocol.ts";

/** Version of tare's changes to a program before and after the engine optimizes it, part of every key. */
const RECIPE = 5;

/** The highest level whose results and layouts do not depend on the machine. */
export const DEFAULT_LEVEL = "extended";

/** Engine and settings that a compilation depends on. */
export interface CompileTarget {
  /** Version of the engine. */
  readonly version: string;
  readonly level: CreateSettings["level"];
}

/** Makes the key of a program: its digest, which a cache may search for, and the digests of its constants in other files. */
export function programKey({ program, constants }: LinkPlan): string {
  const hash = createHash("sha256");
  for (const { name, digest } of constants) hash.update(`${JSON.stringify(name)} ${digest}\n`);
  const hex = program.slice("sha256:".length);
  return constants.length === 0 ? hex : `${hex}-${hash.digest("hex").slice(0, 16)}`;
}

/** Makes the key of a compiled program: the program, the engine, and the platform, which optimizers may depend on. */
export function compileKey(program: string, { version, level }: CompileTarget): string {
  return ["onnxruntime", version, process.platform, process.arch, level, RECIPE, program].join("-");
}
