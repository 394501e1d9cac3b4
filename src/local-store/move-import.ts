import { lstat, mkdir, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { SourceError } from "../errors.ts";
import type { ModelDraft, WeightRange } from "../model/draft.ts";
import { allWeights, crossedRanges } from "../model/holes.ts";
import { writeFileAtomically } from "../node/atomic-write.ts";
import type { FileSource } from "../node/file-source.ts";
import { punchHole } from "../node/punch-hole.ts";
import { type JournalLock, lockJournal } from "./journal-lock.ts";
import { append, type MovedWeight, type MoveHeader, journalOf, line, readJournal } from "./move-journal.ts";
import { withLock } from "./lock.ts";
import { openMoving, removeAll, requireMovable, restoreNames, stampAll } from "./moving-files.ts";
import { requirePresent } from "./require-present.ts";
import type { StorePaths } from "./store-paths.ts";

/** An open journal. */
interface OpenJournal {
  readonly path: string;
  readonly header: MoveHeader;
  readonly moved: Map<string, MovedWeight>;
}

/**
 * The files of a model that are freed while they are added. A journal in the store lists the freed weights: it is
 * durable before a byte is freed, protects blobs from collection, and allows an interrupted add to resume. Dispose it
 * to close the files.
 */
export class MoveImport implements AsyncDisposable {
  readonly #paths: StorePaths;
  readonly #journal: OpenJournal;
  /** Keys of ranges that overlap another weight: they are not freed before the file is removed. */
  readonly #crossed: ReadonlySet<string>;
  readonly #lock: JournalLock;
  #frees = true;
  /** The model. Its files are open under their temporary names. */
  readonly draft: ModelDraft<FileSource>;

  private constructor(
    paths: StorePaths,
    journal: OpenJournal,
    files: readonly FileSource[],
    lock: JournalLock,
  ) {
    this.#paths = paths;
    this.#journal = journal;
    this.#lock = lock;
    const { format, methods, notes, files: moved } = journal.header;
    const drafts = moved.map(({ path }, index) => ({ path, source: files[index] as FileSource }));
    this.draft = { format, methods, files: drafts, ...(notes && { notes }) };
    this.#crossed = crossedRanges(allWeights(this.draft).map(({ at }) => at));
  }

  /** Name of the model to add. */
  get name(): string {
    return this.#journal.header.name;
  }

  /** `false` after the file system refused to free a part of a file: the files are then only removed at the end. */
  get frees(): boolean {
    return this.#frees;
  }

  /** Weights that are in the store, by {@link rangeKey}. */
  get moved(): ReadonlyMap<string, MovedWeight> {
    return this.#journal.moved;
  }

  /**
   * Begins a move: writes the journal, and renames each file.
   * @param asked the paths of the caller, by which {@link resume} finds the journal
   * @throws SourceError `unsupported` for a file with several names, or without permission to write
   */
  static async begin(
    paths: StorePaths,
    asked: readonly string[],
    name: string,
    draft: ModelDraft<FileSource>,
  ): Promise<MoveImport> {
    for (const { source } of draft.files) await requireMovable(source.name, paths);
    const [first = ""] = asked;
    const header: MoveHeader = {
      version: 1,
      name,
      folder: (await lstat(first)).isDirectory() ? resolve(first) : null,
      files: draft.files.map(({ path, source }) => {
        const { device, inode, size, modified } = source.identity;
        return { path, original: resolve(source.name), device, inode, size, modified };
      }),
      format: draft.format,
      methods: draft.methods,
      ...(draft.notes && { notes: draft.notes }),
    };
    await mkdir(paths.moving, { recursive: true });
    const path = journalOf(paths, asked);
    await writeFileAtomically(path, line(header));
    try {
      return await MoveImport.#open(paths, { path, header, moved: new Map() });
    } catch (error) {
      await restoreNames(header);
      await rm(path, { force: true });
      throw error;
    }
  }

  /**
   * Resumes an interrupted move.
   * @returns `undefined` if there is none; `finished` if only files were left to remove, which it removes
   * @throws FormatError `malformed` for a damaged journal; SourceError `source-changed`
   */
  static async resume(
    paths: StorePaths,
    asked: readonly string[],
  ): Promise<MoveImport | { readonly finished: string } | undefined> {
    const path = journalOf(paths, asked);
    const read = await readJournal(path);
    if (!read) return undefined;
    if (read.done === undefined)
      return MoveImport.#open(paths, { path, header: read.header, moved: read.moved });
    await removeAll(read.header, path);
    return { finished: read.done };
  }

  static async #open(paths: StorePaths, journal: OpenJournal): Promise<MoveImport> {
    const lock = await lockJournal(journal.path, paths);
    try {
      return new MoveImport(paths, journal, await openMoving(journal.header), lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /**
   * Adds weights to the journal, then frees their ranges. Under the store's lock, so that no collection runs, every blob is
   * checked and the journal is written: from then on collections keep the blobs. Frees nothing if a blob is missing.
   * @param weights weights with durable blobs: the transaction was synced after their commit
   * @throws StoreError `missing-blob` if a collection removed a blob that the store had before the move, `locked`; SourceError
   */
  async free(weights: readonly (MovedWeight & { readonly at: WeightRange })[]): Promise<void> {
    this.#lock.assertHeld();
    const lines = weights.map(lineOf);
    await withLock(this.#paths, async (lock) => {
      for (const each of weights) await requirePresent(this.#paths, each);
      await append(this.#journal.path, Buffer.concat(lines));
      // A collection may have run if the lock was lost: then nothing is freed.
      lock.assertHeld();
    });
    for (const { at, ...each } of weights) {
      this.#journal.moved.set(each.key, each);
      if (!this.#crossed.has(each.key)) await this.#punch(at);
    }
    await stampAll(this.#journal.header);
  }

  async #punch({ file, offset, length }: WeightRange): Promise<void> {
    if (!this.#frees) return;
    const { source } = this.draft.files[file] as (typeof this.draft.files)[number];
    await punchHole(source.name, offset, length).catch((error: unknown) => {
      if (!(error instanceof SourceError) || error.code !== "unsupported") throw error;
      this.#frees = false;
    });
  }

  /**
   * Removes the files, after the model was added.
   * @param name name of the model in the store
   */
  async finish(name: string): Promise<void> {
    await append(this.#journal.path, line({ done: true, name }));
    await this[Symbol.asyncDispose]();
    await removeAll(this.#journal.header, this.#journal.path);
  }

  /** Restores the names of the files, unless weights were freed. @returns `false` if weights were freed */
  async abandon(): Promise<boolean> {
    if (this.#journal.moved.size > 0) return false;
    await this[Symbol.asyncDispose]();
    await restoreNames(this.#journal.header);
    await rm(this.#journal.path);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { source } of this.draft.files) await source[Symbol.asyncDispose]();
    await this.#lock.release();
  }
}

function lineOf({ key, digest, size, blob, offset }: MovedWeight): Buffer {
  return line({ key, digest, size, blob, ...(offset !== undefined && { offset }) });
}
