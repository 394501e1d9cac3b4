import { createHash } from "node:crypto";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as v from "valibot";
import { parseStrictJson } from "../encodings/json.ts";
import { FormatError } from "../errors.ts";
import { digestSchema, isPlainPath, sizeSchema, encodingEntries } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { MethodDraft, WeightDraft } from "../model/draft.ts";
import { DTYPE_BITS, type DType } from "../tensor/dtype.ts";
import { isAbsent } from "../node/file-source.ts";
import type { StorePaths } from "./store-paths.ts";

/** A weight that is in the store, and no more in its file. */
export interface MovedWeight {
  /** Its place in the files, as {@link rangeKey} has it. */
  readonly key: string;
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  /** What holds it in the store. */
  readonly blob: Digest;
}

/** What is added, and the files that it is in. */
export interface MoveHeader {
  readonly version: 1;
  /** The name that the model is to have. */
  readonly name: string;
  /** The folder that was asked for, which is removed with its files; `null` where files were asked for. */
  readonly folder: string | null;
  readonly files: readonly MovedFile[];
  readonly format: string;
  readonly methods: readonly MethodDraft[];
  readonly notes?: readonly string[];
}

/** A file as it was before it was touched. */
export interface MovedFile {
  /** Relative to the model. */
  readonly path: string;
  /** Absolute. */
  readonly original: string;
  readonly device: number;
  readonly inode: number;
  /** In bytes. */
  readonly size: number;
  /** In milliseconds. */
  readonly modified: number;
}

const weight: v.GenericSchema<WeightDraft> = v.object({
  name: v.string(),
  dtype: v.picklist(Object.keys(DTYPE_BITS) as DType[]),
  shape: v.array(sizeSchema),
  at: v.object({ file: sizeSchema, offset: sizeSchema, length: sizeSchema, ...encodingEntries }),
});
const header: v.GenericSchema<MoveHeader> = v.object({
  version: v.literal(1),
  name: v.string(),
  folder: v.nullable(v.string()),
  files: v.array(
    v.object({
      path: v.pipe(v.string(), v.check(isPlainPath, "not a plain relative path")),
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
});
/** The name is that of the model, where it is another than it was to be. */
const doneLine: v.GenericSchema<{ readonly done: true; readonly name?: string }> = v.object({
  done: v.literal(true),
  name: v.exactOptional(v.string()),
});

/** Blobs of all journals: they must not be collected, since no file has their bytes any more. */
export async function movedBlobs(paths: StorePaths): Promise<Set<Digest>> {
  const blobs = new Set<Digest>();
  for (const { moved } of await readJournals(paths)) for (const { blob } of moved.values()) blobs.add(blob);
  return blobs;
}

/** Whether an add of these paths ended early. */
export async function isUnfinished(paths: StorePaths, asked: readonly string[]): Promise<boolean> {
  return (await stat(journalOf(paths, asked)).catch(() => undefined)) !== undefined;
}

/** What a journal says. */
export interface Journal {
  readonly head: MoveHeader;
  /** By place. */
  readonly moved: Map<string, MovedWeight>;
  /** The model's name, once it has it and only files are left to remove. */
  readonly done: string | undefined;
}

/** An add that ended early. */
export interface UnfinishedAdd {
  /** What was added, by the name that it had. */
  readonly path: string;
  /** Weights that are in the store, and in no file any more. */
  readonly weights: readonly MovedWeight[];
}

/** Adds that ended early after something was freed, or was about to be. */
export async function unfinishedAdds(paths: StorePaths): Promise<UnfinishedAdd[]> {
  return (await readJournals(paths)).flatMap(({ head, moved, done }) => {
    const path = head.folder ?? head.files[0]?.original ?? head.name;
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

/** Where the journal of an add of these paths is, or would be. */
export function journalOf({ moving }: StorePaths, asked: readonly string[]): string {
  const key = createHash("sha256").update(JSON.stringify(asked.map((path) => resolve(path))));
  return join(moving, key.digest("hex"));
}

/**
 * Reads a journal.
 * @returns `undefined` where there is none
 * @throws FormatError `malformed`
 */
export async function readJournal(path: string): Promise<Journal | undefined> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (isAbsent(error)) return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const lines = text.split("\n");
  // What a kill cut off was not freed.
  lines.pop();
  const [first = "", ...others] = lines;
  const parse = <T>(schema: v.GenericSchema<T>, raw: string): T => {
    const parsed = v.safeParse(schema, parseStrictJson(raw, path));
    if (parsed.success) return parsed.output;
    throw new FormatError("malformed", `Cannot read "${path}": it is no journal of an add`, { path });
  };
  const head = parse(header, first);
  const moved = new Map<string, MovedWeight>();
  let done: string | undefined;
  for (const each of others) {
    const entry = parse(v.union([doneLine, movedLine]), each);
    if ("done" in entry) done = entry.name ?? head.name;
    else moved.set(entry.key, entry);
  }
  return { head, moved, done };
}

/** A line of a journal. */
export function line(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

/** Adds lines to a journal; when this is done they are durable. */
export async function append(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "a");
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
