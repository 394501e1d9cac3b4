import type { Pages } from "../../encodings/flatbuffer/pages.ts";
import { Flatbuffer } from "../../encodings/flatbuffer/table.ts";
import { fileErrors } from "../../errors.ts";
import type { FileExtent } from "./header.ts";
import { type NamedEntry, parseNamed, parseSegments, type SegmentRange } from "./segments.ts";
import { DataFields } from "./schema.ts";

/** The tables of a data file. */
export interface ParsedData {
  readonly version: number;
  readonly segments: readonly SegmentRange[];
  /** In the order of the file; several may share a segment. */
  readonly named: readonly NamedEntry[];
}

/** The newest version that tare reads. */
const VERSION = 0;

/**
 * Parses the tables of a data file (.ptd). The segments are not needed.
 * Source: extension/flat_tensor/serialize/flat_tensor.fbs of ExecuTorch 1.5.
 * @throws FormatError `malformed`, `unsupported`, `duplicate`, `too-large`; `size-mismatch` if data is cut off, or not
 * of its layout's size
 */
export function parseData(pages: Pages, extent: FileExtent): ParsedData {
  const fail = fileErrors(pages);
  const root = new Flatbuffer(pages).root();
  const version = root.uint32(DataFields.version);
  if (version > VERSION)
    throw fail("unsupported", `it has version ${version}, tare reads ${VERSION}`, { offset: root.at });
  const segments = parseSegments(root, DataFields.segments, extent, fail);
  return { version, segments, named: parseNamed(root, DataFields.namedData, segments, fail) };
}
