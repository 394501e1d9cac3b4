import { type FileFail, FormatError, shorten } from "../../errors.ts";
import { type ByteSource, type ReadOptions, sliceSource } from "../../io/byte-source.ts";
import { parsePickleAt, type ParsedPickle } from "./pickle.ts";
import { LEGACY_MAGIC } from "./schema.ts";
import type { FindStorage, StoragePlace } from "./storages.ts";
import { storageOf } from "./tensors.ts";
import { isKind, type PickleValue } from "./values.ts";

/** Bytes of the start that are read: more only if the pickles are longer. */
const WINDOWS = [256 * 1024, 4 * 1024 * 1024, 36 * 1024 * 1024];
/** The only version of the form. */
const PROTOCOL = 1001;
/** Bytes of the number of elements before each storage. */
const COUNT_BYTES = 8;

/** A checkpoint from before PyTorch 1.6. */
export interface LegacyCheckpoint {
  readonly root: PickleValue;
  readonly find: FindStorage;
}

/** Whether a file has the form from before PyTorch 1.6. */
export async function isLegacy(source: ByteSource, options: ReadOptions): Promise<boolean> {
  const first = await source.read(0, Math.min(source.size, LEGACY_MAGIC.byteLength), options);
  return (
    first.byteLength === LEGACY_MAGIC.byteLength && LEGACY_MAGIC.every((byte, nth) => first[nth] === byte)
  );
}

/**
 * Reads a checkpoint without an archive: pickles of a magic number, a version, the machine, the object and the keys of its
 * storages, and then each storage in that order, little-endian on every machine, after its number of elements.
 * Source: torch.serialization._legacy_save. Reads the pickles, and nothing of the storages but those numbers.
 * @throws FormatError `malformed`, `unsupported`, `too-large`
 */
export async function readLegacy(
  source: ByteSource,
  fail: FileFail,
  options: ReadOptions,
): Promise<LegacyCheckpoint> {
  const { object, keys, end } = await readPickles(source, fail, options);
  const sizes = new Map<string, { readonly size: number; readonly width: number }>();
  for (const each of object.persistent) {
    const { storage, element } = storageOf(each, "", fail);
    sizes.set(storage.key, { size: storage.size, width: element.bytes });
  }
  const places = new Map<string, StoragePlace>();
  let at = end;
  for (const key of keys) {
    const known = typeof key === "string" ? sizes.get(key) : undefined;
    if (!known || typeof key !== "string") {
      throw fail("malformed", "it has a storage that no tensor names", { offset: at });
    }
    const { size, width } = known;
    const start = at + COUNT_BYTES;
    if (start + size > source.size) {
      throw fail("malformed", `it is cut off: storage "${shorten(key)}" ends at byte ${start + size}`, {
        offset: at,
        hint: "Get the file again",
      });
    }
    const count = await source.read(at, COUNT_BYTES, options);
    const elements = new DataView(count.buffer, count.byteOffset, COUNT_BYTES).getBigUint64(0, true);
    if (elements * BigInt(width) !== BigInt(size)) {
      const reason = `storage "${shorten(key)}" has ${elements} elements, its tensors name ${size / width}`;
      throw fail("size-mismatch", reason, { offset: at });
    }
    places.set(key, { size, start, open: () => sliceSource(source, start, size) });
    at = start + size;
  }
  return { root: object.value, find: (key) => places.get(key) };
}

interface LegacyPickles {
  readonly object: ParsedPickle;
  readonly keys: readonly PickleValue[];
  readonly end: number;
}

async function readPickles(source: ByteSource, fail: FileFail, options: ReadOptions): Promise<LegacyPickles> {
  for (const window of WINDOWS) {
    const bytes = await source.read(0, Math.min(window, source.size), options);
    try {
      return parsePickles(bytes, fail);
    } catch (error) {
      const isLast = bytes.byteLength === source.size || window === WINDOWS.at(-1);
      if (isLast || !(error instanceof FormatError)) throw error;
    }
  }
  throw fail("too-large", "its pickles are too long");
}

function parsePickles(bytes: Uint8Array, fail: FileFail): LegacyPickles {
  const magic = parsePickleAt(bytes, 0, fail);
  const version = parsePickleAt(bytes, magic.end, fail);
  if (version.value !== PROTOCOL) {
    throw fail("unsupported", `its version is not ${PROTOCOL}`, { offset: magic.end });
  }
  const machine = parsePickleAt(bytes, version.end, fail);
  const object = parsePickleAt(bytes, machine.end, fail);
  const keys = parsePickleAt(bytes, object.end, fail);
  if (!isKind(keys.value, "list")) {
    throw fail("malformed", "it has no list of its storages", { offset: object.end });
  }
  return { object, keys: keys.value.items, end: keys.end };
}
