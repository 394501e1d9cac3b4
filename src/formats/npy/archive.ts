import type { ZipStyle } from "../../encodings/zip/records.ts";
import { SUFFIX } from "./schema.ts";
import { fileErrors, shorten } from "../../errors.ts";

/** Longest name of a file in an archive, in bytes. */
const LONGEST = 65_535;

/** The archive style of `numpy.savez`: that of Python's zipfile for a file that it can seek in. */
export const NPZ_STYLE: ZipStyle = {
  madeBy: (3 << 8) | 45,
  needed: 45,
  endMadeBy: 45,
  endNeeded: 45,
  // 1 January 1980: the same arrays give the same archive.
  date: (1 << 5) | 1,
  // Mode of a file that its owner may read and write.
  attributes: 0o600 << 16,
  flagged: "not ascii",
  checksums: "before",
  largest: 2 ** 31 - 1,
  alwaysEnd64: false,
};

const fail = fileErrors({ format: ".npz" });
const OTHER_NAME = "Give it another name";

/**
 * The file names of arrays in an archive. NumPy accepts names with and without `.npy`, so two names that differ only by
 * it would be one.
 * @throws FormatError `bad-name` for a name that a zip entry cannot have, `duplicate`
 */
export function npzEntryNames(names: readonly string[]): string[] {
  const taken = new Set(names);
  return names.map((name) => {
    const entry = name + SUFFIX;
    if (name.includes("\0"))
      throw fail("bad-name", "zip names end at a NUL, and its name has one", {
        tensor: name,
        hint: OTHER_NAME,
      });
    const length = new TextEncoder().encode(entry).byteLength;
    if (length > LONGEST)
      throw fail("bad-name", `its name has ${length} bytes`, { tensor: name, hint: OTHER_NAME });
    if (taken.has(entry)) {
      throw fail("duplicate", `NumPy could not tell it from "${shorten(entry)}"`, {
        tensor: name,
        hint: OTHER_NAME,
      });
    }
    return entry;
  });
}
