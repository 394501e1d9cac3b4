import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memoryWeights } from "../../src/weights/memory.ts";
import { mergeWeightSources } from "../../src/weights/merged.ts";
import { memorySource } from "../../src/io/byte-source.ts";
import { weightBytes, type WeightLayout, type WeightSource } from "../../src/weights/weight-source.ts";
import type { WeightMismatchError } from "../../src/weights/weight-mismatch-error.ts";
import type { ExpectedWeight } from "../../src/weights/match-weights.ts";
import { loadWeight } from "../../src/weights/load-weight.ts";
import { locateWeight } from "../../src/weights/locate-weight.ts";
import { readWeight } from "../../src/weights/read-weight.ts";
import { streamWeight } from "../../src/weights/stream-weight.ts";
import { requireWeights } from "../../src/weights/require-weights.ts";
import type { NumberTensor } from "../../src/tensor/tensor.ts";
import { createSha256 } from "../../src/node/sha256.ts";
import { counting, digestOf, joined } from "../support/bytes.ts";
import { thrown } from "../support/thrown.ts";

const options = { createDigest: createSha256 };
const bytes = (count: number, start = 0): NumberTensor => ({
  dtype: "uint8",
  shape: [count],
  bytes: counting(count, start),
});

/** The same weights with known digests. */
function hashed(data: WeightSource): WeightSource & { readonly opened: number } {
  let opened = 0;
  return {
    ...data,
    get opened() {
      return opened;
    },
    layout(key) {
      const layout = data.layout(key);
      return layout && { ...layout, digest: digestOf(counting(layout.length, key.length % 3)) };
    },
    open(key, reading) {
      opened++;
      return data.open(key, reading);
    },
  };
}

const claims = ({ sides }: WeightMismatchError["mismatched"][number]) =>
  sides.map(({ source, dtype, shape, digest }) => [source, `${dtype} [${shape.join()}]`, digest]);

describe("mergeWeightSources()", () => {
  test("joins a foundation and an adapter, and what both have alike", async () => {
    const base = memoryWeights({ a: bytes(4), shared: bytes(8) }, "base");
    const lora = memoryWeights({ b: bytes(5), shared: bytes(8) }, "lora");
    const data = await mergeWeightSources([base, lora], options);
    expect(data.name).toBe("base + lora");
    expect([...data.keys()].sort()).toEqual(["a", "b", "shared"]);
    expect(data.layout("a")?.digest).toBeUndefined();
    expect(data.layout("shared")).toEqual({
      dtype: "uint8",
      shape: [8],
      length: 8,
      digest: digestOf(counting(8)),
    });
    expect((await readWeight(data, "b")).bytes).toEqual(counting(5));
    const target = new Uint8Array(8);
    await loadWeight(data, "shared", target);
    expect(target).toEqual(counting(8));
    expect(await joined(streamWeight(data, "a", { chunk: 3 }))).toEqual(counting(4));
    expect(await locateWeight(data, "a")).toBeUndefined();
    expect(await locateWeight(data, "no")).toBeUndefined();
    expect(data.layout("no")).toBeUndefined();
    for (const use of [
      () => readWeight(data, "no"),
      () => loadWeight(data, "no", target),
      async () => joined(streamWeight(data, "no")),
    ]) {
      expect(await thrown(use)).toMatchObject({ code: "missing-weight", tensor: "no" });
    }
    expect((await mergeWeightSources([], options)).keys()).toEqual([]);
  });

  test("names every key that is not the same, and both sides", async () => {
    const one = memoryWeights({ a: bytes(4), b: bytes(4), c: bytes(4), d: bytes(4) }, "one");
    const two = memoryWeights(
      { a: bytes(4, 1), b: { ...bytes(4), shape: [2, 2] }, c: { ...bytes(4), dtype: "int8" }, d: bytes(4) },
      "two",
    );
    const error = (await thrown(mergeWeightSources([one, two], options))) as WeightMismatchError;
    expect(error).toMatchObject({
      name: "WeightMismatchError",
      code: "mismatch",
      tensor: "a",
      missing: [],
      unused: [],
    });
    expect(error.mismatched.map((each) => [each.name, ...claims(each)])).toEqual([
      ["a", ["one", "uint8 [4]", digestOf(counting(4))], ["two", "uint8 [4]", digestOf(counting(4, 1))]],
      ["b", ["one", "uint8 [4]", undefined], ["two", "uint8 [2,2]", undefined]],
      ["c", ["one", "uint8 [4]", undefined], ["two", "int8 [4]", undefined]],
    ]);
    expect(error.message).toBe(
      `Cannot merge "one + two": not the same: "a" (${digestOf(counting(4))} in "one", ${digestOf(counting(4, 1))} in "two"), ` +
        '"b" (uint8 [4] in "one", uint8 [2, 2] in "two"), "c" (uint8 [4] in "one", int8 [4] in "two")',
    );
  });

  test("hashes only what both have and nobody knows", async () => {
    const known = hashed(memoryWeights({ a: bytes(4, 1), b: bytes(4, 1) }, "known"));
    const other = hashed(memoryWeights({ a: bytes(4, 1) }, "other"));
    await mergeWeightSources([known, other], options);
    expect([known.opened, other.opened]).toEqual([0, 0]);
    await mergeWeightSources([known, memoryWeights({ a: bytes(4, 1) })], options);
    expect(known.opened).toBe(0);
    expect(
      await thrown(mergeWeightSources([known, memoryWeights({ a: bytes(4, 2) })], options)),
    ).toMatchObject({
      code: "mismatch",
    });
  });

  test("gives the same whichever side comes first", async () => {
    const tensors = fc.dictionary(
      fc.constantFrom("a", "b", "c", "d"),
      fc.record({ start: fc.integer({ min: 0, max: 1 }), flat: fc.boolean() }).map(({ start, flat }) => ({
        ...bytes(4, start),
        shape: flat ? [4] : [2, 2],
      })),
    );
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(tensors, tensors, fc.boolean(), async (left, right, known) => {
        const [a, b] = [memoryWeights(left, "a"), memoryWeights(right, "b")];
        const results = await Promise.allSettled([
          mergeWeightSources([a, b], options),
          mergeWeightSources([b, a], options),
        ]);
        const differ = Object.keys(left).filter((key) => {
          const [one, other] = [left[key], right[key]] as [NumberTensor, NumberTensor | undefined];
          return other && (one.shape.length !== other.shape.length || one.bytes[0] !== other.bytes[0]);
        });
        for (const result of results) {
          if (result.status === "rejected") {
            const { mismatched } = result.reason as WeightMismatchError;
            expect(mismatched.map(({ name }) => name).sort()).toEqual(differ.sort());
            refused++;
          } else {
            expect(differ).toEqual([]);
            expect([...result.value.keys()].sort()).toEqual(Object.keys({ ...left, ...right }).sort());
            for (const [key, { bytes }] of Object.entries({ ...left, ...right })) {
              expect((await readWeight(result.value, key)).bytes).toEqual(bytes);
            }
          }
        }
        const layouts = results.map((result) =>
          result.status === "fulfilled"
            ? result.value
                .keys()
                .map((key) => [key, result.value.layout(key)])
                .sort()
            : "refused",
        );
        expect(layouts[0]).toEqual(layouts[1]);
        // Merged once more nothing changes.
        if (known && results[0].status === "fulfilled") {
          const again = await mergeWeightSources([results[0].value, a, b], options);
          expect([...again.keys()]).toEqual([...results[0].value.keys()]);
        }
      }),
      { numRuns: 150 },
    );
    expect(refused).toBeGreaterThan(20);
  });
});

describe("requireWeights()", () => {
  const data = memoryWeights({ a: bytes(4), b: bytes(5), c: bytes(6) }, "weights");
  const expect4 = (change: Partial<ExpectedWeight> = {}): ExpectedWeight[] => [
    { name: "a", dtype: "uint8", shape: [4], digest: digestOf(counting(4)), ...change },
    { name: "b", dtype: "uint8", shape: [5] },
    { name: "c", dtype: "uint8", shape: [6], digest: digestOf(counting(6)) },
  ];

  test("lets what fits pass", async () => {
    await requireWeights(expect4(), data, options);
    await requireWeights([], memoryWeights({}), options);
  });

  test("catches data that is compatible and wrong, by name", async () => {
    const wrong = digestOf(counting(4, 1));
    const error = await thrown(
      requireWeights(expect4({ digest: wrong }), data, { ...options, program: "kjv" }),
    );
    expect(error).toMatchObject({ code: "mismatch", tensor: "a", digest: digestOf(counting(4)) });
    expect(error.message).toBe(
      `Cannot use "weights" for "kjv": not the same: "a" (${wrong} in "kjv", ${digestOf(counting(4))} in "weights")`,
    );
  });

  test("lists every weight that is missing, unused or another", async () => {
    const expected: ExpectedWeight[] = [
      { name: "a", dtype: "uint8", shape: [2, 2], digest: digestOf(counting(4)) },
      { name: "b", dtype: "int8", shape: [5] },
      ...["p", "q", "r", "s", "t", "u", "v"].map((name) => ({ name, dtype: "uint8" as const, shape: [1] })),
    ];
    const error = (await thrown(requireWeights(expected, data, options))) as WeightMismatchError;
    expect(error).toMatchObject({
      code: "missing-weight",
      tensor: "p",
      missing: ["p", "q", "r", "s", "t", "u", "v"],
      unused: ["c"],
    });
    expect(error.mismatched.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(error.message).toBe(
      'Cannot use "weights" for "the program": missing: "p", "q", "r", "s", "t" and 2 more; ' +
        'not the same: "a" (uint8 [2, 2] in "the program", uint8 [4] in "weights"), ' +
        '"b" (int8 [5] in "the program", uint8 [5] in "weights"); unused: "c"',
    );
  });

  test("refuses what is unused alone", async () => {
    expect(await thrown(requireWeights(expect4().slice(1), data, options))).toMatchObject({
      code: "unused-weight",
      tensor: "a",
    });
  });

  test("refuses a program that expects a name twice", async () => {
    const twice = [...expect4(), ...expect4()];
    expect(await thrown(requireWeights(twice, data, options))).toMatchObject({
      code: "duplicate",
      tensor: "a",
    });
  });

  test("takes the data's word for a digest, unless all is to be hashed", async () => {
    const liar: WeightSource = {
      ...data,
      layout: (key) => {
        const layout = data.layout(key) as WeightLayout;
        return { ...layout, digest: digestOf(counting(layout.length)) };
      },
      open: async (key) => weightBytes(memorySource(counting(data.layout(key)?.length ?? 0, 1))),
    };
    await requireWeights(expect4(), liar, options);
    const error = (await thrown(
      requireWeights(expect4(), liar, { ...options, full: true }),
    )) as WeightMismatchError;
    expect(error.mismatched.map(({ name }) => name)).toEqual(["a", "c"]);
  });

  test("can be aborted while it hashes", async () => {
    const signal = AbortSignal.abort(new RangeError("enough"));
    await expect(requireWeights(expect4(), data, { ...options, signal })).rejects.toThrow("enough");
  });
});
