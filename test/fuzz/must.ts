/** Fails a case: what must hold does not. */
export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}
