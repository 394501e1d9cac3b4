import { access, constants, lstat, mkdir, realpath, rename, rm, rmdir, utimes } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import lockfile from "proper-lockfile";
import { SourceError, StoreError } from "../errors.ts";
import type { ModelDraft, WeightRange } from "../model/draft.ts";
import { allWeights, crossedRanges } from "../model/holes.ts";
import { syncFolder, writeFileAtomically } from "../node/atomic-write.ts";
import { fileError, type FileSource, isAbsent, openFileSource } from "../node/file-source.ts";
import { punchHole } from "../node/punch-hole.ts";
import { append, type MovedWeight, type MoveHeader, journalOf, line, readJournal } from "./move-journal.ts";
import type { StorePaths } from "./store-paths.ts";

/** What a file is called from before its first byte is freed until it goes: nobody takes it for what it was. */
const ENDING = ".consuming";

/**
 * The files of a model that are freed while they are added. A journal in the store says what went: it is durable before a byte
 * is freed, keeps blobs from collection, and lets an add that ended early go on. Dispose it to close the files.
 */
export class MoveImport implements AsyncDisposable {
  readonly #layout: StorePaths;
  readonly #journal: string;
  readonly #header: MoveHeader;
  readonly #moved: Map<string, MovedWeight>;
  /** Places that another weight lies over: they stay until the file goes. */
  readonly #crossed: ReadonlySet<string>;
  readonly #lock: JournalLock;
  #frees = true;
  readonly draft: ModelDraft;
  readonly files: readonly FileSource[];

  private constructor(
    layout: StorePaths,
    journal: string,
    head: MoveHeader,
    moved: Map<string, MovedWeight>,
    files: readonly FileSource[],
    lock: JournalLock,
  ) {
    this.#lock = lock;
    this.#layout = layout;
    this.#journal = journal;
    this.#header = head;
    this.#moved = moved;
    this.files = files;
    const { format, methods, notes } = head;
    const drafts = head.files.map(({ path }, index) => ({ path, source: files[index] as FileSource }));
    this.draft = { format, methods, files: drafts, ...(notes && { notes }) };
    this.#crossed = crossedRanges(allWeights(this.draft).map(({ at }) => at));
  }

  /** What the model was to be called. */
  get name(): string {
    return this.#header.name;
  }

  /** Whether parts of the files can be freed, as far as that was tried: otherwise they go at the end. */
  get frees(): boolean {
    return this.#frees;
  }

  /** What is in the store already, by place. */
  get moved(): ReadonlyMap<string, MovedWeight> {
    return this.#moved;
  }

  /**
   * Begins: writes the journal, and gives each file a name that says what becomes of it.
   * @param paths as they were asked for: {@link resume} finds the journal by them
   * @throws SourceError `unsupported` for a file that has other names too, or that may not be written
   */
  static async begin(
    layout: StorePaths,
    paths: readonly string[],
    name: string,
    draft: ModelDraft,
    sources: readonly FileSource[],
  ): Promise<MoveImport> {
    for (const { name: path } of sources) await requireOwn(path, layout);
    const [first = ""] = paths;
    const head: MoveHeader = {
      version: 1,
      name,
      folder: (await lstat(first)).isDirectory() ? resolve(first) : null,
      files: draft.files.map(({ path }, index) => {
        const { name: original, identity } = sources[index] as FileSource;
        const { device, inode, size, modified } = identity;
        return { path, original: resolve(original), device, inode, size, modified };
      }),
      format: draft.format,
      methods: draft.methods,
      ...(draft.notes && { notes: draft.notes }),
    };
    await mkdir(layout.moving, { recursive: true });
    const journal = journalOf(layout, paths);
    await writeFileAtomically(journal, line(head));
    try {
      return await MoveImport.#open(layout, journal, head, new Map());
    } catch (error) {
      await nameBack(head);
      await rm(journal, { force: true });
      throw error;
    }
  }

  /**
   * Goes on with what ended early.
   * @returns `undefined` where nothing did; `finished` where only files were left to remove, which is done now
   * @throws FormatError `malformed` for a damaged journal; SourceError `source-changed`
   */
  static async resume(
    layout: StorePaths,
    paths: readonly string[],
  ): Promise<MoveImport | { readonly finished: string } | undefined> {
    const journal = journalOf(layout, paths);
    const read = await readJournal(journal);
    if (!read) return undefined;
    if (read.done === undefined) return MoveImport.#open(layout, journal, read.head, read.moved);
    await removeAll(read.head, journal);
    return { finished: read.done };
  }

  static async #open(
    layout: StorePaths,
    journal: string,
    head: MoveHeader,
    moved: Map<string, MovedWeight>,
  ): Promise<MoveImport> {
    const lock = await holdJournal(journal);
    const files: FileSource[] = [];
    try {
      for (const { original, device, inode, size, modified } of head.files) {
        const path = original + ENDING;
        await rename(original, path).catch((cause: unknown) => {
          // It has the name already where this was begun before.
          if (!isAbsent(cause)) throw fileError(original, "rename", cause);
        });
        await stamp(path, modified);
        const source = await openFileSource(path);
        files.push(source);
        const { identity } = source;
        if (identity.device === device && identity.inode === inode && identity.size === size) continue;
        throw new SourceError("source-changed", `Cannot go on adding "${original}": it is another file`, {
          path,
          hint: "put the file back that was being added",
        });
      }
      for (const folder of new Set(head.files.map(({ original }) => dirname(original))))
        await syncFolder(folder);
    } catch (error) {
      for (const file of files) await file[Symbol.asyncDispose]();
      await lock.release();
      throw error;
    }
    return new MoveImport(layout, journal, head, moved, files, lock);
  }

  /**
   * Frees weights that are in the store, once that is durable and written down.
   * @throws SourceError
   */
  async free(weights: readonly (MovedWeight & { readonly at: WeightRange })[]): Promise<void> {
    this.#lock.assertHeld();
    await syncFolder(this.#layout.blobs);
    const lines = weights.map(({ key, digest, size, blob }) => line({ key, digest, size, blob }));
    await append(this.#journal, Buffer.concat(lines));
    for (const { at, ...each } of weights) {
      this.#moved.set(each.key, each);
      if (!this.#crossed.has(each.key)) await this.#punch(at);
    }
    // Freeing is a change as any other: the files are still what they were.
    for (const [index, { modified }] of this.#header.files.entries()) {
      await stamp((this.files[index] as FileSource).name, modified);
    }
  }

  async #punch({ file, offset, length }: WeightRange): Promise<void> {
    if (!this.#frees) return;
    await punchHole((this.files[file] as FileSource).name, offset, length).catch((error: unknown) => {
      if (!(error instanceof SourceError) || error.code !== "unsupported") throw error;
      this.#frees = false;
    });
  }

  /** Removes the files: the model is in the store, under this name. */
  async finish(name: string): Promise<void> {
    await append(this.#journal, line({ done: true, name }));
    await this[Symbol.asyncDispose]();
    await removeAll(this.#header, this.#journal);
  }

  /** Gives everything back its name where nothing was freed. @returns whether that was so */
  async abandon(): Promise<boolean> {
    if (this.#moved.size > 0) return false;
    await this[Symbol.asyncDispose]();
    await nameBack(this.#header);
    await rm(this.#journal);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.files) await file[Symbol.asyncDispose]();
    await this.#lock.release();
  }
}

/** One process at a time frees a file. */
interface JournalLock {
  assertHeld(): void;
  /** A second time does nothing. */
  release(): Promise<void>;
}

/** @throws StoreError `locked` where another process adds the same */
async function holdJournal(journal: string): Promise<JournalLock> {
  const refusal = (cause: unknown): StoreError =>
    new StoreError("locked", "Cannot move these files: another tare moves them", {
      path: journal,
      cause,
      hint: "wait for it; after a crash, for some seconds",
    });
  let lost: Error | undefined;
  const lockfilePath = join(dirname(journal), `.${basename(journal)}.lock`);
  const onCompromised = (error: Error): void => void (lost = error);
  let release: (() => Promise<void>) | undefined = await lockfile
    .lock(journal, {
      lockfilePath,
      realpath: false,
      stale: 5000,
      onCompromised,
      retries: { retries: 8, minTimeout: 1000, maxTimeout: 1000 },
    })
    .catch((cause: unknown) => {
      throw refusal(cause);
    });
  return {
    assertHeld() {
      if (lost) throw refusal(lost);
    },
    async release() {
      const held = release;
      release = undefined;
      if (!lost) await held?.();
    },
  };
}

/** Files under one name, that this user may write, and that are none of a store's own. */
async function requireOwn(path: string, layout: StorePaths): Promise<void> {
  const refuse = (reason: string, hint: string): SourceError =>
    new SourceError("unsupported", `Cannot move "${path}": ${reason}`, { path, hint });
  const stats = await lstat(path);
  if (stats.isSymbolicLink())
    throw refuse("it is a link", "name the file that it leads to, or add it without --move");
  if (stats.nlink > 1) throw refuse("it has other names (hard links)", "add it without --move");
  if ((await realpath(path)).startsWith((await realpath(layout.root)) + sep)) {
    throw refuse("it is in the store", "name a file outside of it");
  }
  await access(path, constants.W_OK).catch(() => {
    throw refuse("it may not be written", "make it writable, or add it without --move");
  });
}

async function nameBack({ files }: MoveHeader): Promise<void> {
  for (const { original } of files) {
    await rename(original + ENDING, original).catch((error: unknown) => {
      if (!isAbsent(error)) throw error;
    });
  }
}

async function removeAll({ files, folder }: MoveHeader, journal: string): Promise<void> {
  for (const { original } of files) await rm(original + ENDING, { force: true });
  // A folder that has more than the model stays.
  if (folder !== null) await rmdir(folder).catch(() => undefined);
  await rm(journal, { force: true });
}

/** A time that every file system keeps exactly: whole seconds. */
async function stamp(path: string, modified: number): Promise<void> {
  const seconds = Math.floor(modified / 1000);
  await utimes(path, seconds, seconds).catch((cause: unknown) => {
    throw fileError(path, "open", cause);
  });
}
