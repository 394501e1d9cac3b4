import { LinkError } from "../errors.ts";

/** Which of the new weights each weight of a model gets: from the model's names to those of the new weights. */
export type NameMap = ReadonlyMap<string, string>;

/** Cases that an error lists; more are counted. */
const MAX_LISTED = 20;

/**
 * Checks a mapping: a JSON object of the model's names to those of the new weights.
 * @param value what `JSON.parse` gave
 * @param path of its file, for errors
 * @throws LinkError `malformed` for what is no such object; `mismatch` for names that lead in a circle: weights that
 * would change places, which no checkpoint asks for
 */
export function parseNameMap(value: unknown, path: string): Map<string, string> {
  const refuse = (code: "malformed" | "mismatch", reason: string, tensor?: string): LinkError =>
    new LinkError(code, `Cannot use the mapping "${path}": ${reason}`, { path, tensor });
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refuse("malformed", "it is no JSON object of names");
  }
  const mapping = new Map<string, string>();
  for (const [key, target] of Object.entries(value)) {
    if (typeof target !== "string") throw refuse("malformed", `"${key}" is mapped to no name`, key);
    mapping.set(key, target);
  }
  const circle = findCircle(mapping);
  if (circle) throw refuse("mismatch", `it leads in a circle: ${circle.join(" → ")}`, circle[0]);
  return mapping;
}

/** Cases as a message lists them. */
export function listCases(cases: readonly string[]): string {
  const more = cases.length - MAX_LISTED;
  return `${cases.slice(0, MAX_LISTED).join("; ")}${more > 0 ? `; and ${more} more` : ""}`;
}

/** Names that lead back to the first; one that is mapped to itself is no circle. */
function findCircle(mapping: NameMap): string[] | undefined {
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
