import type { Hole, StoredFile } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";
import { locationOf } from "./location-of.ts";
import type { Location } from "./manifest.ts";
import type { StoredModel } from "./stored-model.ts";

/** A segment of an original file: a range of a blob, copied or, for an encoded weight, encoded. */
export interface Segment extends Location {
  /** Length in the original file, in bytes; differs from `length` for an encoded weight only. */
  readonly fileLength: number;
  /** The hole of the weight; `undefined` for a part of the skeleton. */
  readonly weight: Hole | undefined;
}

/**
 * Lists the segments of an original file, in order.
 * @throws LinkError `missing-weight` for a weight without a location
 */
export function fileSegments(model: Pick<StoredModel, "locations">, file: StoredFile): Segment[] {
  const segments: Segment[] = [];
  let at = 0;
  let skeletonOffset = 0;
  const addSkeleton = (end: number): void => {
    if (end > at) segments.push(skeletonSegment(file.skeleton, skeletonOffset, end - at));
    skeletonOffset += end - at;
    at = end;
  };
  for (const hole of file.holes) {
    addSkeleton(hole.offset);
    const { path } = file;
    const location = locationOf(model, hole.digest, { doing: `export "${path}"`, path, offset: hole.offset });
    segments.push({ ...location, fileLength: hole.length, weight: hole });
    at += hole.length;
  }
  addSkeleton(file.size);
  return segments;
}

function skeletonSegment(blob: Digest, offset: number, length: number): Segment {
  return { blob, offset, length, fileLength: length, weight: undefined };
}
