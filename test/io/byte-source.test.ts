import { describe, expect, test } from "vitest";
import { memorySource, sliceSource } from "../../src/io/byte-source.ts";

const bytes = Uint8Array.from({ length: 100 }, (_, index) => index);

describe("memorySource()", () => {
  test("reads a range without a copy", async () => {
    const read = await memorySource(bytes).read(10, 5);
    expect([...read]).toEqual([10, 11, 12, 13, 14]);
    expect(read.buffer).toBe(bytes.buffer);
  });

  test.each([
    [90, 11],
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [101, 0],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    [Number.NaN, 1],
  ])("refuses %d + %d", async (offset, length) => {
    await expect(memorySource(bytes, "m").read(offset, length)).rejects.toMatchObject({
      code: "out-of-range",
      path: "m",
    });
  });

  test("stops when aborted", async () => {
    await expect(memorySource(bytes).read(0, 1, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
  });
});

describe("sliceSource()", () => {
  test("knows where it is in a file or on a web server", async () => {
    const requireUnchanged = async (): Promise<void> => undefined;
    const whole = {
      ...memorySource(bytes),
      file: { path: "/m", offset: 7, requireUnchanged },
      remote: { url: "https://m", offset: 0 },
    };
    const slice = sliceSource(sliceSource(whole, 50, 10), 2, 3);
    expect(slice.file).toMatchObject({ path: "/m", offset: 59 });
    expect(slice.remote).toEqual({ url: "https://m", offset: 52 });
    expect(sliceSource(memorySource(bytes), 0, 1)).not.toHaveProperty("file");
  });

  test("reads with offsets of its own", async () => {
    const slice = sliceSource(memorySource(bytes), 50, 10);
    expect(slice.size).toBe(10);
    expect([...(await slice.read(8, 2))]).toEqual([58, 59]);
  });

  test("never reads beyond its end, though its parent goes on", async () => {
    const slice = sliceSource(memorySource(bytes), 50, 10);
    await expect(slice.read(8, 3)).rejects.toMatchObject({ code: "out-of-range" });
  });

  test("refuses to be larger than its parent", () => {
    expect(() => sliceSource(memorySource(bytes), 50, 51)).toThrow(
      expect.objectContaining({ code: "out-of-range" }),
    );
  });
});
