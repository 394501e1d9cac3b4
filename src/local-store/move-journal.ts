import { createHash } from "node:crypto";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as v from "valibot";
import { parseStrictJson } from "../encodings/json.ts";
import { FormatError } from "../errors.ts";
import { digestSchema, sizeSchema, storedPathSchema, encodingEntries } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { MethodDraft, WeightDraft } from "../model/draft.ts";
import { DTYPE_BITS, type DType } from "../tensor/dtype.ts";
import { isAbsent } from "../node/file-source.ts";
import type { StorePaths } from "./store-paths.ts";

/** A weight that is in the store and was freed in its file. */
export interface MovedWeight {
  /** {@link rangeKey} of the weight in the files. */
  readonly key: string;
  readonly digest: Digest;
  /** Size in bytes. */
  readonly size: number;
  /** Blob that contains the weight. */
  readonly blob: Digest;
  /** Offset of the weight in the blob, in bytes; 0 unless given. Journals of older versions lack it for shards. */
  readonly offset?: number;
}

/** Header of a journal: the model to add, and its files. */
export interface MoveHeader {
  readonly version: 1;
  /** Name of the model to add. */
  readonly name: string;
  /** Folder of the model, which is removed with its files; `null` if the caller named files. */
  readonly folder: string | null;
  readonly files: readonly MovedFile[];
  readonly format: string;
  readonly methods: readonly MethodDraft[];
  readonly notes?: readonly string[];
}

/** A file before the move. */
export interface MovedFile {
  /** Relative to the folder of the model. */
  readonly path: string;
  /** Absolute path before the move. */
  readonly original: string;
  readonly device: number;
  readonly inode: number;
  /** Size in bytes. */
  readonly size: number;
  /** Modification time, in milliseconds. */
  readonly modified: number;
}

const weight: v.GenericSchema<WeightDraft> = v.object({
  name: v.string(),
  dtype: v.picklist(Object.keys(DTYPE_BITS) as DType[]),
  shape: v.array(sizeSchema),
  at: v.object({ file: sizeSchema, offset: sizeSchema, length: sizeSchema, ...encodingEntries }),
});
const headerLine: v.GenericSchema<MoveHeader> = v.object({
  version: v.literal(1),
  name: v.string(),
  folder: v.nullable(v.string()),
  files: v.array(
    v.object({
      path: storedPathSchema,
      original: v.string(),
      device: v.number(),
      inode: v.number(),
      size: sizeSchema,
      modified: v.number(),
    }),
  ),
  format: v.string(),
  methods: v.array(
    v.object({ name: v.string(), file: sizeSchema, weights: v.array(weight), constants: v.array(weight) }),
  ),
  notes: v.exactOptional(v.array(v.string())),
});
const movedLine: v.GenericSchema<MovedWeight> = v.object({
  key: v.string(),
  digest: digestSchema,
  size: sizeSchema,
  blob: digestSchema,
  offset: v.exactOptional(sizeSchema),
});
/** Last line of a journal; `name` is the name of the added model if it differs from the header's. */
const doneLine: v.GenericSchema<{ readonly done: true; readonly name?: string }> = v.object({
  done: v.literal(true),
  name: v.exactOptional(v.string()),
});

/** Finds the blobs of all journals, which must not be collected: their bytes may be in no file any more. */
export async function movedBlobs(paths: StorePaths): Promise<Set<Digest>> {
  const blobs = new Set<Digest>();
  for (const { moved } of await readJournals(paths)) for (const { blob } of moved.values()) blobs.add(blob);
  return blobs;
}

/** Whether an add of these paths was interrupted. */
export async function isUnfinished(paths: StorePaths, asked: readonly string[]): Promise<boolean> {
  return (await stat(journalOf(paths, asked)).catch(() => undefined)) !== undefined;
}

/** The content of a journal. */
export interface Journal {
  readonly header: MoveHeader;
  /** Weights by {@link rangeKey}. */
  readonly moved: Map<string, MovedWeight>;
  /** Name of the added model if only files are left to remove; else `undefined`. */
  readonly done: string | undefined;
}

/** An interrupted add. */
export interface UnfinishedAdd {
  /** Original path of the folder or file. */
  readonly path: string;
  /** Weights that are in the store and were freed in their files. */
  readonly weights: readonly MovedWeight[];
}

/** Finds interrupted adds that may have freed parts of files. */
export async function unfinishedAdds(paths: StorePaths): Promise<UnfinishedAdd[]> {
  return (await readJournals(paths)).flatMap(({ header, moved, done }) => {
    const path = header.folder ?? header.files[0]?.original ?? header.name;
    return done !== undefined ? [] : [{ path, weights: [...moved.values()] }];
  });
}

async function readJournals(paths: StorePaths): Promise<Journal[]> {
  const journals: Journal[] = [];
  for (const name of await readdir(paths.moving).catch(() => [])) {
    const read = name.startsWith(".") ? undefined : await readJournal(join(paths.moving, name));
    if (read) journals.push(read);
  }
  return journals;
}

/** Returns the path of the journal for an add of these paths. */
export function journalOf({ moving }: StorePaths, asked: readonly string[]): string {
  const key = createHash("sha256").update(JSON.stringify(asked.map((path) => resolve(path))));
  return join(moving, key.digest("hex"));
}

/**
 * Reads a journal.
 * @returns `undefined` if it does not exist
 * @throws FormatError `malformed`
 */
export async function readJournal(path: string): Promise<Journal | undefined> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (isAbsent(error)) return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const lines = text.split("\n");
  // Drop a line that a kill cut off: its weight was not freed.
  lines.pop();
  const [first = "", ...others] = lines;
  const parse = <T>(schema: v.GenericSchema<T>, raw: string): T => {
    const parsed = v.safeParse(schema, parseStrictJson(raw, path));
    if (parsed.success) return parsed.output;
    throw new FormatError("malformed", `Cannot read "${path}": it is not a journal of an add`, { path });
  };
  const header = parse(headerLine, first);
  const moved = new Map<string, MovedWeight>();
  let done: string | undefined;
  for (const each of others) {
    const entry = parse(v.union([doneLine, movedLine]), each);
    if ("done" in entry) done = entry.name ?? header.name;
    else moved.set(entry.key, entry);
  }
  return { header, moved, done };
}

/** Encodes a line of a journal. */
export function line(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

/** Appends lines to a journal and makes them durable. */
export async function append(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "a");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
