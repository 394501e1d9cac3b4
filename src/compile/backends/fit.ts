import { EngineError } from "../../errors.ts";
import type { Backend } from "./backend.ts";
import type { CompileRecord } from "./compiled-model.ts";

/** The machine that a program is to run on. */
export interface Machine {
  /** Operating system and architecture, as `linux-x64`. */
  readonly target: string;
  /** Features of the processor. */
  readonly cpu: readonly string[];
}

/**
 * Makes sure that what was compiled then and there may be used here and now.
 * @throws EngineError `no-engine` for a backend that is not here; `mismatch`, saying what differs
 */
export function checkCompileCompatibility(
  records: readonly CompileRecord[],
  backends: readonly Backend[],
  machine: Machine,
  name: string,
): void {
  for (const record of records) {
    const backend = backends.find((each) => each.id === record.backend);
    if (!backend) {
      throw new EngineError("no-engine", `Cannot use "${name}": backend "${record.backend}" is not here`, {
        path: name,
        hint: `there is ${backends.map((each) => each.id).join(", ")}`,
      });
    }
    const why = whyNotFit(record, backend, machine);
    if (why === undefined) continue;
    throw new EngineError("mismatch", `Cannot use "${name}": ${why}`, {
      path: name,
      hint: "compile it again here: tare compile",
    });
  }
}

function whyNotFit(record: CompileRecord, backend: Backend, machine: Machine): string | undefined {
  if (record.version !== backend.version) {
    return `${record.backend} ${record.version} compiled it, ${backend.version} is here`;
  }
  if (record.target !== "any" && record.target !== machine.target) {
    return `it was compiled for ${record.target}, this is ${machine.target}`;
  }
  const missing = record.cpu.filter((feature) => !machine.cpu.includes(feature));
  if (missing.length === 0) return undefined;
  return `it was compiled for a processor with ${missing.join(", ")}, which this one lacks`;
}
