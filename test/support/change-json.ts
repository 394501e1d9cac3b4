/**
 * Changes a value inside of JSON; `undefined` takes it away.
 * @param path keys and indices with dots between
 */
export function changeJson(value: unknown, path: string, change: (old: unknown) => unknown): void {
  const keys = path.split(".");
  const last = keys.pop() as string;
  const holder = keys.reduce((at, key) => (at as Record<string, unknown>)[key], value);
  const record = holder as Record<string, unknown>;
  const changed = change(record[last]);
  if (changed === undefined) delete record[last];
  else record[last] = changed;
}
