import type { FlatTable } from "../../encodings/flatbuffer/table.ts";
import type { FileFail } from "../../errors.ts";
import { CUT_OFF } from "../failure.ts";
import type { FileExtent } from "./header.ts";
import { type ExecutorchLayout, parseLayout } from "./layout.ts";
import { LayoutFields, NamedFields, SegmentFields } from "./schema.ts";

/** The range of a segment. */
export interface SegmentRange {
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
}

/** A key and its segment. */
export interface NamedEntry {
  readonly key: string;
  /** Index of the segment. */
  readonly segment: number;
  /** `undefined` if the file does not describe the bytes. */
  readonly layout: ExecutorchLayout | undefined;
}

/**
 * Parses the ranges of a file's segments.
 * @throws FormatError `malformed`; `size-mismatch` for a segment past the end of the data
 */
export function parseSegments(
  root: FlatTable,
  field: number,
  extent: FileExtent,
  fail: FileFail,
): SegmentRange[] {
  const { base, end } = extent;
  return [...root.tables(field)].map((table, nth) => {
    const offset = table.uint64(SegmentFields.offset);
    const size = table.uint64(SegmentFields.size);
    if (base === undefined) {
      if (size === 0n) return { offset: extent.tables, length: 0 };
      throw fail("malformed", "it has segments, and no header with their place", { offset: table.at });
    }
    const stop = BigInt(base) + offset + size;
    if (stop > BigInt(end)) {
      const reason = `segment ${nth} ends at byte ${stop}, past the end of the data at ${end}`;
      throw fail("size-mismatch", reason, { offset: table.at, hint: CUT_OFF });
    }
    return { offset: base + Number(offset), length: Number(size) };
  });
}

/**
 * Parses the keys of segments.
 * @throws FormatError `malformed`, `duplicate`; `size-mismatch` if a segment is not of its layout's size
 */
export function parseNamed(
  root: FlatTable,
  field: number,
  segments: readonly SegmentRange[],
  fail: FileFail,
): NamedEntry[] {
  const keys = new Set<string>();
  return [...root.tables(field)].map((table) => {
    const key = table.string(NamedFields.key);
    if (key === undefined) throw fail("malformed", "named data has no key", { offset: table.at });
    if (keys.has(key)) throw fail("duplicate", "that key occurs twice", { offset: table.at, tensor: key });
    keys.add(key);
    const segment = table.uint32(NamedFields.segment);
    const range = segments[segment];
    if (!range)
      throw fail("malformed", `it is in segment ${segment} of ${segments.length}`, {
        offset: table.at,
        tensor: key,
      });
    const described = table.table(NamedFields.layout);
    const layout = described && parseLayout(described, LayoutFields, key, fail);
    if (layout?.length !== undefined && layout.length !== range.length) {
      const reason = `[${layout.sizes.join(", ")}] of scalar type ${layout.type} takes ${layout.length} bytes, its segment has ${range.length}`;
      throw fail("size-mismatch", reason, { offset: range.offset, tensor: key });
    }
    return { key, segment, layout };
  });
}
