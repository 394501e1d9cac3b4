/** A weight by the name of what it is in, and its name there. */
export interface WeightSymbol {
  readonly scope: string;
  readonly key: string;
}

/** What goes between. */
const BETWEEN = "::";

/** What a symbol is as the location of external data, where a file's name would be: `scope::key`. */
export function formatSymbol({ scope, key }: WeightSymbol): string {
  return `${scope}${BETWEEN}${key}`;
}

/** Reads a location; `undefined` for one that is a file or a URL. */
export function parseSymbol(location: string): WeightSymbol | undefined {
  const at = location.indexOf(BETWEEN);
  const scope = location.slice(0, Math.max(0, at));
  return isScope(scope) ? { scope, key: location.slice(at + BETWEEN.length) } : undefined;
}

/** Whether a scope may be called so: a plain word. */
export function isScope(text: string): boolean {
  return /^[A-Za-z0-9_][\w.-]*$/.test(text);
}
