import { layOutZip } from "../encodings/zip/layout.ts";
import type { ZipStyle } from "../encodings/zip/records.ts";
import type { Checksums, FileLayout, LayoutPiece, WeightSpec } from "./lay-out.ts";

/** A file of an archive: bytes, and then the weight if there is one. */
export interface ArchiveMember {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly weight?: WeightSpec;
}

/** Lays files out as a zip archive, whose directory is written last, with the checksums of all. */
export function layOutArchive(
  members: readonly ArchiveMember[],
  style: ZipStyle,
  checksums: Checksums,
): FileLayout {
  const files = members.map(({ name, bytes, weight }) => {
    return { name, size: bytes.byteLength + (weight?.length ?? 0) };
  });
  const { starts, frames, size } = layOutZip(files, style);
  const sums = members.map(() => checksums.crc32());
  const crcOf = (nth: number): number => sums[nth]?.value as number;
  const data = members.flatMap(({ bytes, weight }, nth): LayoutPiece[] => {
    const offset = starts[nth] as number;
    const sum = sums[nth] as (typeof sums)[number];
    const own: LayoutPiece = { offset, bytes, sum };
    return weight ? [own, { offset: offset + bytes.byteLength, weight, sum }] : [own];
  });
  const late = frames.map(({ offset, length, encode }) => ({ offset, length, late: () => encode(crcOf) }));
  return { pieces: [...data, ...late], size };
}
