import { tensorBytes } from "../../src/tensor/dtype.ts";
import type { ModelDraft } from "../../src/model/draft.ts";
import { allWeights, chooseHoles, skeletonRanges } from "../../src/model/holes.ts";
import { must } from "./must.ts";

/** Checks what must hold of every model that is not refused. */
export function checkDraft(draft: ModelDraft): void {
  must(new Set(draft.methods.map(({ name }) => name)).size === draft.methods.length, "a method stands twice");
  for (const { weights, constants } of draft.methods) {
    const all = [...weights, ...constants];
    must(new Set(all.map(({ name }) => name)).size === all.length, "a weight stands twice");
  }
  for (const { name, dtype, shape, at } of allWeights(draft)) {
    const { offset, length } = at;
    const size = draft.files[at.file]?.source.size ?? -1;
    must(Number.isSafeInteger(offset) && offset >= 0 && length >= 0, `"${name}" is at ${offset}`);
    must(offset + length <= size, `"${name}" ends at ${offset + length} of ${size}`);
    const takes = tensorBytes(dtype, shape);
    must(at.varint ? takes !== undefined : takes === length, `"${name}" is not of its shape's size`);
  }
  const holes = chooseHoles(draft);
  for (const [nth, { source }] of draft.files.entries()) {
    const ranges = [...skeletonRanges(source.size, holes[nth] ?? []), ...(holes[nth] ?? [])];
    const sum = ranges.reduce((total, { length }) => total + length, 0);
    must(sum === source.size, `the parts of "${source.name}" have ${sum} of ${source.size} bytes`);
  }
}
