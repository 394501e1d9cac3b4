import { UsageError } from "../errors.ts";
import { type LoraAdapter, moduleName, someNames } from "./adapter.ts";

/** Names of a LoRA's modules → names in the base, for names that differ. */
export type NameMapping = ReadonlyMap<string, string>;

/**
 * Checks a mapping: a JSON object of names in the LoRA to names in the base, each with or without `.weight`.
 * @param source name of the mapping in errors
 * @throws UsageError `malformed`; `duplicate` for two names of one weight; `mismatch` for a chain of names
 */
export function nameMapping(entries: Readonly<Record<string, string>>, source: string): NameMapping {
  const mapping = new Map<string, string>();
  const targets = new Map<string, string>();
  for (const [written, to] of Object.entries(entries)) {
    const from = moduleName(written);
    if (typeof to !== "string" || to === "") {
      throw refuse("malformed", source, `"${written}" is not mapped to a name`, written);
    }
    const target = moduleName(to);
    const other = targets.get(target);
    if (other !== undefined || mapping.has(from)) {
      throw refuse(
        "duplicate",
        source,
        `"${other ?? from}" and "${written}" are both mapped to "${to}"`,
        written,
      );
    }
    mapping.set(from, target);
    targets.set(target, written);
  }
  for (const [from, to] of mapping) {
    if (from !== to && mapping.has(to)) {
      throw refuse("mismatch", source, `"${from}" is mapped to "${to}", which also is mapped`, from);
    }
  }
  return mapping;
}

/**
 * Checks that a LoRA has every name of a mapping.
 * @throws UsageError `not-found`
 */
export function checkMapped(mapping: NameMapping, adapters: readonly LoraAdapter[]): void {
  const modules = new Set(
    adapters.flatMap(({ pairs, copies }) => [...pairs, ...copies].map((each) => each.module)),
  );
  for (const from of mapping.keys()) {
    if (modules.has(from)) continue;
    const hint = `Use names of the LoRA: ${someNames([...modules])}`;
    throw new UsageError("not-found", `Cannot map "${from}": no LoRA has it`, { tensor: from, hint });
  }
}

/**
 * Checks the JSON of a mapping file.
 * @throws UsageError
 */
export function parseNameMapping(json: unknown, source: string): Record<string, string> {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) {
    nameMapping(json as Record<string, string>, source);
    return json as Record<string, string>;
  }
  throw refuse("malformed", source, "it is not a JSON object");
}

function refuse(
  code: "malformed" | "duplicate" | "mismatch",
  source: string,
  reason: string,
  tensor?: string,
): UsageError {
  const hint = 'Write {"name in the LoRA": "name in the base"}, with each name once';
  return new UsageError(code, `Cannot use the mapping of ${source}: ${reason}`, { tensor, hint });
}
