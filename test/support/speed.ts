import type { TestOptions } from "vitest";

/** Whether this run takes its time: `npm run test:all`, and not `npm test`. */
export const THOROUGH: boolean = process.env.TARE_TESTS === "all";

/**
 * Options of a test that takes long (kills, crashes, many processes, files of a million entries): `npm test` skips it, and
 * `npm run test:all` runs it.
 * @example test("is whole after a kill", LONG, async () => …)
 */
export const LONG: TestOptions = { tags: "long", skip: !THOROUGH, timeout: 180_000 };

/**
 * Options of a test that takes {@link some} of its cases in `npm test`, and all of them in `npm run test:all`.
 * @example test("refuses every truncation", SAMPLED, () => …)
 */
export const SAMPLED: TestOptions = { tags: "sampled" };

/** How many cases of a {@link SAMPLED} test run: all, or one in ten and 20 at least. */
export function some(cases: number): number {
  return THOROUGH ? cases : Math.min(cases, Math.max(20, Math.ceil(cases / 10)));
}

/**
 * Offsets of a {@link SAMPLED} test: each from 0 to before `end`; in `npm test` those of a small file, else each of the
 * first and the last and those about the places that matter, and every thirteenth between them.
 */
export function* offsets(end: number, ...places: readonly number[]): Generator<number> {
  const isNear = (at: number): boolean => [0, end, ...places].some((place) => Math.abs(at - place) < 64);
  for (let at = 0; at < end; at++) {
    // A prime, so that any alignment is met.
    if (THOROUGH || end <= 1024 || at % 13 === 0 || isNear(at)) yield at;
  }
}
