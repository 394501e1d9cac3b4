import { LinkError } from "../errors.ts";
import type { Hole, StoredFile } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { Location } from "./manifest.ts";
import type { StoredModel } from "./stored-model.ts";

/** A piece of an original file: a range of a blob, or a weight that is to be spelled. */
export interface Segment extends Location {
  /** In bytes, in the original file; differs from `length` only where the weight is spelled. */
  readonly fileLength: number;
  /** The weight that it is, whole; `undefined` for the rest of the file. */
  readonly weight: Hole | undefined;
}

/** How to put an original file together again: its segments, in order. */
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
    const location = model.locations.get(hole.digest);
    if (!location) {
      throw new LinkError(
        "missing-weight",
        `Cannot export "${file.path}": weight ${hole.digest} is nowhere`,
        {
          path: file.path,
          offset: hole.offset,
          digest: hole.digest,
        },
      );
    }
    segments.push({ ...location, fileLength: hole.length, weight: hole });
    at += hole.length;
  }
  addSkeleton(file.size);
  return segments;
}

function skeletonSegment(blob: Digest, offset: number, length: number): Segment {
  return { blob, offset, length, fileLength: length, weight: undefined };
}
