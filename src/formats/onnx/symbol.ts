/** The name of a weight, and the scope that resolves it. */
export interface WeightSymbol {
  readonly scope: string;
  readonly key: string;
}

/** The separator. */
const BETWEEN = "::";

/** Formats a symbol as the location of external data, in the place of a file's name: `scope::key`. */
export function formatSymbol({ scope, key }: WeightSymbol): string {
  return `${scope}${BETWEEN}${key}`;
}

/** Parses a location; `undefined` for a file or a URL. */
export function parseSymbol(location: string): WeightSymbol | undefined {
  const at = location.indexOf(BETWEEN);
  const scope = location.slice(0, Math.max(0, at));
  return isScope(scope) ? { scope, key: location.slice(at + BETWEEN.length) } : undefined;
}

/** Whether a text can be the name of a scope: a plain word. */
export function isScope(text: string): boolean {
  return /^[A-Za-z0-9_][\w.-]*$/.test(text);
}
