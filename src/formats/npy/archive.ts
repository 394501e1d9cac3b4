import type { ZipStyle } from "../../encodings/zip/records.ts";
import { SUFFIX } from "./schema.ts";
import { fileErrors, shorten } from "../../errors.ts";

/** Longest name of an entry, in bytes. */
const LONGEST = 65_535;

/** How `numpy.savez` has its archives: as the module zipfile of Python streams to a file that it can seek in. */
export const NPZ_STYLE: ZipStyle = {
  madeBy: (3 << 8) | 45,
  needed: 45,
  endMadeBy: 45,
  endNeeded: 45,
  // The first of January 1980: without a date archives would differ each time.
  date: (1 << 5) | 1,
  // A file that its owner reads and writes.
  attributes: 0o600 << 16,
  flagged: "not ascii",
  checksums: "before",
  largest: 2 ** 31 - 1,
  alwaysEnd64: false,
};

const fail = fileErrors({ format: ".npz" });
const OTHER_NAME = "Give it another name";

/**
 * What the arrays of an archive are called in it. NumPy takes names with and without their `.npy`, and so two that
 * differ by no more would be one.
 * @throws FormatError `bad-name` for what is no name of an entry, `duplicate`
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
