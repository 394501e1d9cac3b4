import type { Checksums, FileLayout, WeightSpec } from "../lay-out.ts";
import { type ArchiveMember, layOutArchive } from "../lay-out-archive.ts";
import { CHECKPOINT_STYLE, checkpointFiles } from "./write.ts";

/**
 * Lays weights out as `torch.save` does an `OrderedDict` of tensors.
 * @param path of the checkpoint, whose name the archive's folder has
 * @throws FormatError what {@link checkpointFiles} throws
 */
export function layOutCheckpoint(
  weights: readonly WeightSpec[],
  path: string,
  checksums: Checksums,
): FileLayout {
  const members = checkpointFiles(path, weights).map((file): ArchiveMember => {
    return "bytes" in file ? file : { name: file.name, bytes: new Uint8Array(), weight: file.tensor };
  });
  return layOutArchive(members, CHECKPOINT_STYLE, checksums);
}
