import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FormatError } from "../../src/errors.ts";
import type { ModelDraft } from "../../src/model/draft.ts";
import { LONG } from "../support/speed.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { type CampaignResult, campaign, type Target } from "./campaign.ts";
import { checkDraft } from "./check-draft.ts";
import { hit } from "./mutate.ts";
import { Random } from "./random.ts";
import { Watchdog } from "./watchdog.ts";

type Read = Target["read"];

const BYTES = Uint8Array.from({ length: 64 }, (_, at) => at);
const OPTIONS = { seed: "1", cases: 200 };

/** A model of one weight: all of the file. */
function whole(given: Parameters<Read>[0]["given"]): ModelDraft {
  const files = given.map(({ path, source }) => ({ path, source }));
  const length = files[0]?.source.size ?? 0;
  const weight = { name: "w", dtype: "uint8", shape: [length], at: { file: 0, offset: 0, length } } as const;
  return { format: "x", methods: [{ name: "m", file: 0, weights: [weight], constants: [] }], files };
}

/** A format that has a mistake: it shows where the file's first byte is odd. */
function planted(read: Read, more: Partial<Target> = {}): Target {
  return {
    name: "planted",
    fixtures: [{ files: { x: BYTES }, given: ["x"] }],
    async read(opened) {
      const [{ source } = { source: undefined }] = opened.given;
      const first = source && source.size > 0 ? (await source.read(0, 1))[0] : undefined;
      if (first === undefined || first % 2 === 0) return whole(opened.given);
      return read(opened);
    },
    check: checkDraft,
    refusesCut: () => false,
    mutate: (random) => ({ files: { x: hit(random, BYTES) } }),
    ...more,
  };
}

/** What a campaign says that finds something. */
async function found(target: Target): Promise<string> {
  const error = await campaign(target, OPTIONS).then(
    () => "nothing was found",
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Error);
  return (error as Error).message;
}

describe("campaign()", () => {
  test("lets pass what reads, and what refuses with a typed error", async () => {
    const target = planted(async () => {
      throw new FormatError("malformed", 'Cannot read "x": it is odd');
    });
    const result = await campaign(target, OPTIONS);
    expect(result).toMatchObject({ cases: 264, cuts: 64 });
    expect(result.read).toBeGreaterThan(100);
    expect(result.read).toBeLessThan(200);
  });

  test.each<[string, string, Read]>([
    [
      "RangeError: Invalid typed array length",
      "an untyped error",
      async () => void new Uint8Array(-1) as never,
    ],
    [
      'an error says "it is odd"',
      "an error that does not say what cannot be done",
      async () => {
        throw new FormatError("malformed", "it is odd");
      },
    ],
    [
      "an error has 3012 characters",
      "an endless message",
      async () => {
        throw new FormatError("malformed", `Cannot read ${"x".repeat(3000)}`);
      },
    ],
    [
      "Cannot read 65 bytes at 0",
      "a read past the end",
      async ({ given }) => {
        await given[0]?.source.read(0, 65);
        return whole(given);
      },
    ],
    [
      'more is read than 4 times what "x" has',
      "a file that is read over and over",
      async ({ given }) => {
        for (;;) await given[0]?.source.read(0, 10);
      },
    ],
    [
      "bytes are made, over ",
      "a buffer for what the file says and does not have",
      async ({ given }) => {
        must(new Uint8Array(2 ** 28));
        return whole(given);
      },
    ],
    [
      '"w" ends at 1064 of 64',
      "a weight past the end",
      async ({ given }) => {
        const { methods, ...draft } = whole(given);
        const [method] = methods;
        const [weight] = method?.weights ?? [];
        if (!method || !weight) return { ...draft, methods };
        const at = { ...weight.at, length: weight.at.length + 1000 };
        const longer = { ...weight, shape: [at.length], at };
        return { ...draft, methods: [{ ...method, weights: [longer] }] };
      },
    ],
  ])("says %s of %s", async (message, _, read) => {
    const said = await found(planted(read));
    expect(said).toContain(message);
    const [, rerun = ""] =
      /TARE_FUZZ_CASE=(\S+) npm run test:fuzz -- test\/fuzz\/planted\.test\.ts$/.exec(said) ?? [];
    expect(said).toContain(`Case ${rerun} of planted (x) fails: `);
    // That one alone finds it again, and the one before does not.
    await expect(campaign(planted(read), { ...OPTIONS, only: rerun })).rejects.toThrow(message);
    const nth = Number(rerun.slice("made-".length));
    if (nth > 0) await campaign(planted(read), { ...OPTIONS, only: `made-${nth - 1}` });
  });

  test("says which cut is read that should be refused", async () => {
    const target = planted(async ({ given }) => whole(given), { refusesCut: (_, __, end) => end === 40 });
    expect(await found(target)).toContain("Case cut-40 of planted (x cut at 40) fails: Error: it is read");
  });

  test("makes the same cases of the same seed, and others of another", async () => {
    const seen = async (seed: string): Promise<string[]> => {
      const files: string[] = [];
      const target = planted(async ({ given }) => whole(given), {
        async read({ files: { x = new Uint8Array() }, given }) {
          files.push(Buffer.from(x).toString("hex"));
          return whole(given);
        },
      });
      await campaign(target, { ...OPTIONS, seed });
      return files.slice(64);
    };
    expect(await seen("1")).toEqual(await seen("1"));
    expect(await seen("1")).not.toEqual(await seen("2"));
    expect(new Set(await seen("1")).size).toBeGreaterThan(150);
  });

  test("refuses a case that there is none of", async () => {
    const run = (only: string): Promise<CampaignResult> =>
      campaign(
        planted(async ({ given }) => whole(given)),
        { ...OPTIONS, only },
      );
    await expect(run("cut-64")).rejects.toThrow('no case "cut-64"');
    await expect(run("other")).rejects.toThrow('no case "other"');
  });
});

describe("Watchdog", () => {
  test.each([
    ["hangs", 1000, 2 ** 40],
    ["makes the process grow", 600_000, 2 ** 27],
  ])("says which case %s, while it does", LONG, async (what, hangs, grows) => {
    const report = join(await temporaryFolder(), "report");
    await using watchdog = new Watchdog(["made"], { rerun: "rerun #", hangs, grows, report });
    const target = planted(async ({ given }) => {
      // Nothing else runs in this thread meanwhile: it is told by memory that the threads share.
      const held: number[][] = [];
      const end = performance.now() + 50_000;
      while (!watchdog.reported && performance.now() < end) {
        if (what !== "hangs" && held.length < 1024) held.push(Array.from({ length: 2 ** 16 }, Math.random));
      }
      throw new Error(`stopped with ${held.length}, reported: ${watchdog.reported}`, { cause: given });
    });
    await expect(
      campaign({ ...target, fixtures: target.fixtures }, { ...OPTIONS, cuts: 1, watchdog }),
    ).rejects.toThrow("reported: true");
    expect(await readFile(report, "utf8")).toMatch(
      new RegExp(`^Case made-\\d+ ${what}.*\\. Run it alone: rerun made-\\d+\\n$`),
    );
  });
});

describe("Random", () => {
  test("gives every number below a limit, about as often", () => {
    const random = new Random("x", 1);
    const counts = Array.from({ length: 10 }, () => 0);
    for (let left = 10_000; left > 0; left--) (counts[random.below(10)] as number) += 1;
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(200);
    expect(random.below(0)).toBe(0);
    expect(random.shuffled([1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
  });
});

/** Keeps a value from being left out. */
function must(value: unknown): void {
  expect(value).toBeDefined();
}
