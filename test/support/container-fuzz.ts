import { expect } from "vitest";
import fc from "fast-check";
import { memorySource } from "../../src/bytes/byte-source.ts";
import { TareError } from "../../src/errors.ts";
import type { Format } from "../../src/formats/format.ts";
import type { ModelDraft } from "../../src/model/draft.ts";
import { allWeights, chooseHoles } from "../../src/model/holes.ts";
import { tensorBytes } from "../../src/model/dtype.ts";

/** Times as many runs as in CI. */
export const EFFORT: number = Number(process.env.TARE_FUZZ ?? 1);

export type Files = Readonly<Record<string, Uint8Array>>;

/** Reads files that are a model together with what lies beside them. */
export async function readFiles(
  format: Format,
  files: Files,
  given: readonly string[] = Object.keys(files),
): Promise<ModelDraft> {
  const opened = given.map((path) => ({ path, source: memorySource(files[path] as Uint8Array, path) }));
  return format.read(opened, {
    async open(path) {
      return Object.hasOwn(files, path) ? memorySource(files[path] as Uint8Array, path) : undefined;
    },
  });
}

/**
 * Reads files that may be damaged, and checks what must hold of every model that is not refused.
 * @returns `undefined` where they were refused
 */
export async function attempt(
  format: Format,
  files: Files,
  given?: readonly string[],
): Promise<ModelDraft | undefined> {
  let draft: ModelDraft;
  try {
    draft = await readFiles(format, files, given);
  } catch (error) {
    if (!(error instanceof TareError)) throw error;
    expect(error.message).toMatch(/^Cannot (read|parse|find|open) /);
    return undefined;
  }
  for (const { weights } of draft.methods) {
    expect(new Set(weights.map(({ name }) => name)).size).toBe(weights.length);
  }
  for (const { dtype, shape, at } of allWeights(draft)) {
    expect(at.offset + at.length).toBeLessThanOrEqual(draft.files[at.file]?.source.size ?? -1);
    expect(at.length).toBe(tensorBytes(dtype, shape));
  }
  chooseHoles(draft);
  return draft;
}

/** What happens to the bytes of a file. */
export interface Hit {
  readonly at: number;
  readonly value: number;
  readonly kind: "byte" | "number" | "cut";
}

/** Hits that a reader may have to notice. */
export const damage: fc.Arbitrary<Hit[]> = fc.array(
  fc.record({
    at: fc.nat(2 ** 16),
    value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
    kind: fc.constantFrom("byte", "byte", "byte", "number", "number", "cut"),
  }),
  { minLength: 1, maxLength: 3 },
);

/** A copy of a file after the hits; a number is 8 bytes, aligned, that become all ones, or that value. */
export function damaged(file: Uint8Array, hits: readonly Hit[], within: number = file.length): Uint8Array {
  let bytes = file.slice();
  for (const { at, value, kind } of hits) {
    const place = at % Math.max(1, Math.min(within, bytes.length));
    if (kind === "cut" && value < 60) bytes = bytes.slice(0, place);
    else if (kind === "number") {
      const start = place - (place % 4);
      const fill = value > 200 ? 0xff : 0;
      bytes.fill(fill, start, start + 8);
      if (fill === 0) bytes[start] = value;
    } else bytes[place] = value;
  }
  return bytes;
}
