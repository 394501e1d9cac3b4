import { layOutZip } from "../../encodings/zip/layout.ts";
import type { ZipStyle } from "../../encodings/zip/records.ts";
import { NPZ_STYLE, npzEntryNames } from "../../formats/npy/archive.ts";
import { npyHead } from "../../formats/npy/write.ts";
import { CHECKPOINT_STYLE, checkpointFiles } from "../../formats/pytorch/write.ts";
import type { FileLayout, Piece, WeightSpec } from "./layout.ts";
import { Crc32 } from "./sums.ts";

/** A file of an archive: bytes of its own, and then the weight. */
interface Member {
  readonly name: string;
  readonly head: Uint8Array;
  readonly weight?: WeightSpec;
}

/** Lays weights out as `numpy.savez` does. */
export function layOutNpz(weights: readonly WeightSpec[]): FileLayout {
  const names = npzEntryNames(weights.map(({ name }) => name));
  const members = weights.map((weight, nth) => {
    const { name, dtype, shape } = weight;
    return { name: names[nth] as string, head: npyHead(name, dtype, shape), weight };
  });
  return archiveOf(members, NPZ_STYLE);
}

/** Lays weights out as `torch.save` does an `OrderedDict` of tensors. */
export function layOutCheckpoint(weights: readonly WeightSpec[], path: string): FileLayout {
  const members = checkpointFiles(path, weights).map((file): Member => {
    const { name } = file;
    return "bytes" in file
      ? { name, head: file.bytes }
      : { name, head: new Uint8Array(), weight: file.tensor };
  });
  return archiveOf(members, CHECKPOINT_STYLE);
}

function archiveOf(members: readonly Member[], style: ZipStyle): FileLayout {
  const files = members.map(({ name, head, weight }) => {
    return { name, size: head.byteLength + (weight?.length ?? 0) };
  });
  const { starts, frames, size } = layOutZip(files, style);
  const sums = members.map(() => new Crc32());
  const crcOf = (nth: number): number => (sums[nth] as Crc32).value;
  const data = members.flatMap(({ head, weight }, nth): Piece[] => {
    const offset = starts[nth] as number;
    const sum = sums[nth] as Crc32;
    const own: Piece = { offset, bytes: head, sum };
    return weight ? [own, { offset: offset + head.byteLength, weight, sum }] : [own];
  });
  const late = frames.map(({ offset, length, encode }) => ({ offset, length, late: () => encode(crcOf) }));
  return { pieces: [...data, ...late], size };
}
