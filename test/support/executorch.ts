import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { EditedProgram } from "../../src/formats/executorch/edit-program.ts";
import { encodeDataHeader } from "../../src/formats/executorch/write-data.ts";
import type { ExternalFile } from "../../src/formats/executorch/externalize.ts";
import type { ModelDraft } from "../../src/model/draft.ts";

/** The bytes of an edited program; what it is made of must be there, and lie where nothing else does. */
export function writtenProgram(
  { header, pieces, size }: EditedProgram,
  files: readonly Uint8Array[],
): Uint8Array {
  const out = new Uint8Array(size);
  out.set(header);
  let at = header.length;
  for (const { offset, from, file } of pieces) {
    expect(offset).toBeGreaterThanOrEqual(at);
    at = offset + from.length;
    expect(at).toBeLessThanOrEqual(size);
    const bytes = files[file] as Uint8Array;
    expect(from.offset + from.length).toBeLessThanOrEqual(bytes.length);
    out.set(bytes.subarray(from.offset, from.offset + from.length), offset);
  }
  return out;
}

/** The bytes of a data file that a program's weights went to. */
export function writtenData({ spec, from }: ExternalFile, program: Uint8Array): Uint8Array {
  expect(spec.segments.map(({ length }) => length)).toEqual(from.map(({ length }) => length));
  const { bytes, segments, size } = encodeDataHeader(spec);
  const out = new Uint8Array(size);
  out.set(bytes);
  for (const [nth, { offset, length }] of from.entries()) {
    expect(offset + length).toBeLessThanOrEqual(program.length);
    out.set(program.subarray(offset, offset + length), segments[nth]?.offset);
  }
  return out;
}

/** What the weights of a program's methods are, in whatever file: layouts and digests, by method. */
export async function weightsOf(draft: ModelDraft): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const { name, weights } of draft.methods.filter(({ file }) => file === 0)) {
    const each = weights.map(async ({ dtype, shape, at }) => {
      const bytes = (await draft.files[at.file]?.source.read(at.offset, at.length)) as Uint8Array;
      return `${dtype} ${shape.join()} ${createHash("sha256").update(bytes).digest("hex")}`;
    });
    found[name] = [...new Set(await Promise.all(each))].sort();
  }
  return found;
}
