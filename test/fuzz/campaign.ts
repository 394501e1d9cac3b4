import { getHeapStatistics } from "node:v8";
import { describe, expect, test } from "vitest";
import { type ByteSource, checkRange } from "../../src/io/byte-source.ts";
import { TareError } from "../../src/errors.ts";
import type { ModelFile, ModelFolder } from "../../src/formats/format.ts";
import type { ModelDraft } from "../../src/model/draft.ts";
import { Allocations } from "./allocations.ts";
import { hit } from "./mutate.ts";
import { must } from "./must.ts";
import { Random } from "./random.ts";
import { Watchdog } from "./watchdog.ts";
import { LONG } from "../support/speed.ts";

/** The files of a model by their paths. */
export type Files = Readonly<Record<string, Uint8Array>>;

/** A model that is read as it is, and that cases are made of. */
export interface Fixture {
  readonly files: Files;
  /** Those that a reader starts from. */
  readonly given: readonly string[];
  /** Those that are cut and hit; all, if left out. */
  readonly broken?: readonly string[];
}

/** What a campaign has to know of a format. */
export interface Target<F extends Fixture = Fixture, T = ModelDraft> {
  readonly name: string;
  readonly fixtures: readonly F[];
  read(opened: Opened): Promise<T>;
  /** Checks what must hold of what was not refused; what does more with it may refuse it yet. */
  check(read: T, files: Files, given: readonly string[]): Promise<void> | void;
  /** Whether a file that ends there must be refused. */
  refusesCut(fixture: F, path: string, end: number): boolean;
  /** Changes a fixture as only one who knows the format does. */
  mutate(random: Random, fixture: F): { readonly files: Files; readonly given?: readonly string[] };
  /** How far into a file bytes are hit; its size, if left out. */
  within?(fixture: F, path: string): number;
}

/** A case: a file cut off at a place, or whatever was made of a fixture. */
type Kind = "cut" | "made";
const KINDS: readonly Kind[] = ["cut", "made"];

/** What a reader may ask for: so many times what there is, and something for the small reads of small files. */
const FETCHED = { times: 4, more: 4096 } as const;
/** What a case may make in memory, garbage too: its checks write a file again, and the reader may have windows. */
const MADE = { times: 512, more: 32 * 2 ** 20 } as const;
/** No case takes a hundredth of this. In milliseconds. */
const HANGS = 30_000;
/** What all cases of a target may make a process grow by, in bytes. */
const GROWS = 1.5 * 2 ** 30;
/** Files up to this are cut at every offset; of larger ones, so much of the start and of the end. */
const EVERY = { file: 32 * 1024, start: 16 * 1024, end: 4 * 1024 } as const;
/** In the middle of larger files every so manieth offset: a prime, so that any alignment is met. */
const STRIDE = 61;

/** Files as a reader comes to them, counted. */
export class Opened {
  readonly files: Files;
  readonly given: readonly ModelFile[];
  readonly folder: ModelFolder = {
    open: async (path) => (Object.hasOwn(this.files, path) ? this.#open(path) : undefined),
  };
  #left: number;

  constructor(files: Files, given: readonly string[]) {
    this.files = files;
    const size = Object.values(files).reduce((sum, bytes) => sum + bytes.length, 0);
    this.#left = size * FETCHED.times + FETCHED.more * (1 + Object.keys(files).length);
    this.given = given.map((path) => ({ path, source: this.#open(path) }));
  }

  #open(path: string): ByteSource {
    const bytes = this.files[path] as Uint8Array;
    const source: ByteSource = {
      name: path,
      size: bytes.length,
      read: async (offset, length) => {
        checkRange(source, offset, length);
        this.#left -= length;
        if (this.#left < 0) throw new Error(`more is read than ${FETCHED.times} times what "${path}" has`);
        return bytes.subarray(offset, offset + length);
      },
    };
    return source;
  }
}

export interface CampaignOptions {
  readonly seed: string;
  /** How many cases to make, beside the cuts. */
  readonly cases: number;
  /** Cuts are about so many, evenly apart; every one, if left out. */
  readonly cuts?: number;
  /** Only this one: `cut-12` or `made-345`. */
  readonly only?: string | undefined;
  readonly watchdog?: Watchdog;
}

export interface CampaignResult {
  readonly cases: number;
  readonly cuts: number;
  /** Of the others, those that were read. */
  readonly read: number;
  /** The most that one of them made in memory, in bytes. */
  readonly made: number;
}

/**
 * Runs cases of a format: each is read whole, or refused with a typed error that says what cannot be done; what is
 * fetched and what is made in memory is bounded by the size of the files.
 * @throws Error that says which case it was, and how to run it alone
 */
export async function campaign<F extends Fixture, T>(
  target: Target<F, T>,
  options: CampaignOptions,
): Promise<CampaignResult> {
  const { seed, cases, only, watchdog } = options;
  using allocations = new Allocations();
  const result = { cases: 0, cuts: 0, read: 0, made: 0 };
  const run = async (kind: Kind, number: number, make: () => Case): Promise<void> => {
    watchdog?.begin(kind, number);
    result.cases++;
    let what = "";
    try {
      const made = make();
      ({ what } = made);
      const { used, read } = await attempt(target, made, allocations);
      result.made = Math.max(result.made, used);
      if (kind === "cut") result.cuts++;
      else if (read) result.read++;
    } catch (cause) {
      const text = `Case ${kind}-${number} of ${target.name}${what && ` (${what})`} fails: ${String(cause)}`;
      const rerun = rerunOf(target.name, seed).replace("#", `${kind}-${number}`);
      throw new Error(`${text}\nRun it alone: ${rerun}`, { cause });
    }
  };
  const cuts = cutsOf(target.fixtures);
  const cut = (nth: number): Promise<void> => run("cut", nth, () => cutCase(target, cuts[nth] as Cut<F>));
  const make = (nth: number): Promise<void> =>
    run("made", nth, () => madeCase(target, new Random(`${seed}/${target.name}`, nth)));
  if (only !== undefined) {
    const [, kind, number] = /^(cut|made)-(\d+)$/.exec(only) ?? [];
    must(kind === "made" || Number(number) < cuts.length, `there is no case "${only}"`);
    await (kind === "cut" ? cut : make)(Number(number));
    return result;
  }
  const step = Math.max(1, Math.ceil(cuts.length / (options.cuts ?? cuts.length)));
  for (let nth = 0; nth < cuts.length; nth += step) await cut(nth);
  for (let nth = 0; nth < cases; nth++) await make(nth);
  return result;
}

/** How to run one case alone: its name goes where `#` is. */
export function rerunOf(name: string, seed: string): string {
  return `TARE_FUZZ_SEED=${seed} TARE_FUZZ_CASE=# npm run test:fuzz -- test/fuzz/${name}.test.ts`;
}

interface Case {
  readonly files: Files;
  readonly given: readonly string[];
  readonly refused: boolean;
  /** What was done, for people. */
  readonly what: string;
}

interface Cut<F> {
  readonly fixture: F;
  readonly path: string;
  readonly end: number;
}

function cutsOf<F extends Fixture>(fixtures: readonly F[]): Cut<F>[] {
  return fixtures.flatMap((fixture) =>
    (fixture.broken ?? Object.keys(fixture.files)).flatMap((path) => {
      const size = (fixture.files[path] as Uint8Array).length;
      const cuts: Cut<F>[] = [];
      for (let end = 0; end < size; end++) {
        const inside = size > EVERY.file && end >= EVERY.start && end < size - EVERY.end;
        if (!inside || end % STRIDE === 0) cuts.push({ fixture, path, end });
      }
      return cuts;
    }),
  );
}

function cutCase<F extends Fixture, T>(target: Target<F, T>, { fixture, path, end }: Cut<F>): Case {
  const { files, given } = fixture;
  const bytes = (files[path] as Uint8Array).subarray(0, end);
  return {
    files: { ...files, [path]: bytes },
    given,
    refused: target.refusesCut(fixture, path, end),
    what: `${path} cut at ${end}`,
  };
}

/** One in three is hit anywhere; the others are changed by one who knows the format, and of those some are hit too. */
function madeCase<F extends Fixture, T>(target: Target<F, T>, random: Random): Case {
  const fixture = random.pick(target.fixtures);
  const blind = random.chance(1 / 3);
  const { files, given } = blind ? fixture : { given: undefined, ...target.mutate(random, fixture) };
  const made = { files, given: given ?? fixture.given, refused: false, what: fixture.given.join() };
  if (!blind && !random.chance(0.1)) return made;
  const path = random.pick(
    (fixture.broken ?? Object.keys(files)).filter((each) => Object.hasOwn(files, each)),
  );
  if (path === undefined) return made;
  const broken = hit(random, files[path] as Uint8Array, target.within?.(fixture, path));
  return { ...made, files: { ...files, [path]: broken } };
}

/** What a refusal starts with: what cannot be done, and with what. */
const REFUSAL = /^Cannot (read|parse|find|open|move|write) /;

async function attempt<F extends Fixture, T>(
  target: Target<F, T>,
  { files, given, refused }: Case,
  allocations: Allocations,
): Promise<{ used: number; read: boolean }> {
  const size = Object.values(files).reduce((sum, bytes) => sum + bytes.length, 0);
  const limit = size * MADE.times + MADE.more;
  const before = inUse();
  allocations.start(limit);
  let read = false;
  try {
    const found = await target.read(new Opened(files, given));
    read = true;
    await target.check(found, files, given);
  } catch (error) {
    // A source that is read past its end is a check that the reader did not make.
    if (!(error instanceof TareError) || error.code === "out-of-range") throw error;
    must(REFUSAL.test(error.message), `an error says "${error.message}"`);
    must(error.message.length < 2000, `an error has ${error.message.length} characters`);
  }
  // Buffers are counted; of other objects garbage may be gone by now, and what is left is the least that was made.
  const { made } = allocations;
  allocations.start(Number.POSITIVE_INFINITY);
  const used = Math.max(made, inUse() - before);
  must(used <= limit, `${used} bytes of memory are made, over ${limit}`);
  must(!(read && refused), "it is read, and should be refused");
  return { used, read };
}

function inUse(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

/** How many cases are made: a few in the ordinary tests, many in the campaign. */
const CASES = Number(process.env.TARE_FUZZ_CASES ?? 2000);
const QUICK = process.env.TARE_FUZZ_CASES === undefined;

/** Makes the tests of a format: its fixtures are read as they are, and the cases made of them read or refused. */
export function fuzz<F extends Fixture, T>(target: Target<F, T>): void {
  const seed = process.env.TARE_FUZZ_SEED ?? "1";
  const only = process.env.TARE_FUZZ_CASE;

  describe(`${target.name} files`, () => {
    test.skipIf(only !== undefined)("are read as they are", async () => {
      for (const { files, given } of target.fixtures) {
        await target.read(new Opened(files, given)).catch((cause: unknown) => {
          throw new Error(`${given.join()} is not read: ${String(cause)}`, { cause });
        });
      }
    });

    test("are read or refused, whatever is done to them", LONG, async () => {
      const start = performance.now();
      await using watchdog = new Watchdog(KINDS, {
        rerun: rerunOf(target.name, seed),
        hangs: HANGS,
        grows: GROWS,
      });
      const options = { seed, cases: CASES, only, watchdog };
      const { cases, cuts, read, made } = await campaign(
        target,
        QUICK ? { ...options, cuts: 1000 } : options,
      );
      if (only !== undefined) return;
      const rate = Math.round((1000 * cases) / (performance.now() - start));
      if (!QUICK) {
        const share = Math.round((100 * read) / (cases - cuts));
        console.info(
          `${target.name}: ${cases} cases, ${rate} a second; ${cuts} cut, of the others ${share} % read; ` +
            `at most ${Math.round(made / 1024)} KiB made`,
        );
      }
      // Both ways are taken.
      expect(read).toBeGreaterThan((cases - cuts) / 100);
      expect(read).toBeLessThan((cases - cuts) / 1.05);
    });
  });
}
