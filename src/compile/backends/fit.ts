import { EngineError } from "../../errors.ts";
import type { Backend } from "./backend.ts";
import type { CompileRecord } from "./compiled-model.ts";

/** The machine that runs a program. */
export interface Machine {
  /** Operating system and architecture, as `linux-x64`. */
  readonly target: string;
  /** Features of the processor. */
  readonly cpu: readonly string[];
}

/**
 * Checks that this machine and these backends can load compiled programs.
 * @throws EngineError `no-engine` for a missing backend; `mismatch` for another version, machine or processor
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
      throw new EngineError(
        "no-engine",
        `Cannot use "${name}": it needs backend "${record.backend}", which is not available`,
        {
          path: name,
          hint: `Compile it with one of ${backends.map((each) => each.id).join(", ")}, or add its backend`,
        },
      );
    }
    const why = whyNotFit(record, backend, machine);
    if (why === undefined) continue;
    throw new EngineError("mismatch", `Cannot use "${name}": ${why}`, {
      path: name,
      hint: "Compile it again on this machine: tare compile",
    });
  }
}

function whyNotFit(record: CompileRecord, backend: Backend, machine: Machine): string | undefined {
  if (record.version !== backend.version) {
    return `${record.backend} ${record.version} compiled it, and this is ${record.backend} ${backend.version}`;
  }
  if (record.target !== "any" && record.target !== machine.target) {
    return `it was compiled for ${record.target}, and this is ${machine.target}`;
  }
  const missing = record.cpu.filter((feature) => !machine.cpu.includes(feature));
  if (missing.length === 0) return undefined;
  return `it was compiled for a processor with ${missing.join(", ")}, which this processor does not have`;
}
