import { LinkError } from "../errors.ts";

/** Names of new weights by names of a model's weights. */
export type NameMap = ReadonlyMap<string, string>;

/** Number of cases that an error lists; it counts the others. */
const MAX_LISTED = 20;

/**
 * Parses a mapping: a JSON object from a model's names to names of new weights.
 * @param value result of `JSON.parse`
 * @param path path of the mapping, for errors
 * @throws LinkError `malformed` for another value; `mismatch` for a cycle of names, which would exchange weights
 */
export function parseNameMap(value: unknown, path: string): Map<string, string> {
  const refuse = (code: "malformed" | "mismatch", reason: string, tensor?: string): LinkError =>
    new LinkError(code, `Cannot use the mapping "${path}": ${reason}`, { path, tensor });
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refuse("malformed", "it is not a JSON object of names");
  }
  const mapping = new Map<string, string>();
  for (const [key, target] of Object.entries(value)) {
    if (typeof target !== "string") throw refuse("malformed", `the value of "${key}" is not a name`, key);
    mapping.set(key, target);
  }
  const cycle = findCycle(mapping);
  if (cycle) throw refuse("mismatch", `it has a cycle: ${cycle.join(" → ")}`, cycle[0]);
  return mapping;
}

/** Joins cases for a message, up to {@link MAX_LISTED}. */
export function listCases(cases: readonly string[]): string {
  const more = cases.length - MAX_LISTED;
  return `${cases.slice(0, MAX_LISTED).join("; ")}${more > 0 ? `; and ${more} more` : ""}`;
}

/** Finds a cycle of names. A name that is mapped to itself is no cycle. */
function findCycle(mapping: NameMap): string[] | undefined {
  const done = new Set<string>();
  for (const start of mapping.keys()) {
    const way: string[] = [];
    const onWay = new Set<string>();
    for (let at: string | undefined = start; at !== undefined && !done.has(at); ) {
      if (onWay.has(at)) return [...way.slice(way.indexOf(at)), at];
      way.push(at);
      onWay.add(at);
      const next = mapping.get(at);
      at = next === at ? undefined : next;
    }
    for (const name of way) done.add(name);
  }
  return undefined;
}
