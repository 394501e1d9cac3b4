import { StoreError, TareError } from "../errors.ts";
import { modelWeights } from "../model/stored-model.ts";
import { openModel } from "../node/open-model.ts";
import { checkName } from "../store/check-name.ts";
import { findTag, readTagged } from "../store/read-model.ts";
import { type AddOptions, type AddResult, addModel } from "./add.ts";
import type { LocalStore } from "./local-store.ts";
import { MoveImport } from "./move-import.ts";

/** Options of {@link addMoving}. */
export interface MoveOptions extends AddOptions {
  /** Name of the model; that of its file or folder unless given. */
  readonly as?: string | undefined;
  /** Bytes per step: this many are on the disk twice before they are freed; 256 MiB unless given. */
  readonly moveStepBytes?: number | undefined;
}

const STEP_BYTES = 256 * 1024 * 1024;

/**
 * Adds a model, frees the stored bytes of its files in steps, and removes the files at the end. After an early end, the
 * same add resumes without loss, and an export of the model restores the files. If the file system cannot free parts of
 * a file, the files are only removed at the end.
 * @throws SourceError `unsupported` for files with several names; the errors of {@link addModel}
 */
export async function addMoving(
  store: LocalStore,
  paths: readonly string[],
  options: MoveOptions,
): Promise<AddResult> {
  const resumed = await MoveImport.resume(store.paths, paths);
  if (resumed && "finished" in resumed) return resultOf(store, resumed.finished);
  if (resumed) return moveFiles(store, resumed, options);
  await using model = await openModel(paths, { signal: options.signal });
  const name = options.as ?? model.name;
  checkName(name);
  if (!options.replace && (await store.names.resolve(name)) !== undefined) {
    throw new StoreError("name-taken", `Cannot add "${name}": another model has this name`, {
      path: store.name,
      hint: "Choose another name with --as NAME, or replace the model with --replace",
    });
  }
  const begun = await MoveImport.begin(store.paths, paths, name, model.draft);
  return await moveFiles(store, begun, { ...options, as: name });
}

async function moveFiles(store: LocalStore, files: MoveImport, options: MoveOptions): Promise<AddResult> {
  await using _ = files;
  const name = options.as ?? files.name;
  try {
    const moving = { files, stepBytes: options.moveStepBytes ?? STEP_BYTES };
    const result = await addModel(store, name, files.draft, { ...options, moving });
    await files.finish(name);
    if (files.frees) return result;
    const note = "This file system cannot free parts of a file: the files were removed after the add";
    return { ...result, notes: [...(result.notes ?? []), note] };
  } catch (error) {
    if ((await files.abandon()) || !(error instanceof TareError)) throw error;
    throw resumable(error);
  }
}

/** Returns the same error with a hint that the add can resume. */
function resumable(error: TareError): StoreError {
  const { code, message, path, offset, tensor, digest, hint = "" } = error;
  const resume = "Run the same add again: it resumes from the part that is in the store";
  return new StoreError(code, message, {
    path,
    offset,
    tensor,
    digest,
    cause: error,
    hint: hint === "" ? resume : `${hint}. ${resume}`,
  });
}

/** Makes the result of an add that had only files left to remove. */
async function resultOf(store: LocalStore, name: string): Promise<AddResult> {
  const tag = await findTag(store, name);
  const { config } = await readTagged(store, tag);
  return {
    name,
    digest: tag.digest,
    fileBytes: config.files.reduce((sum, file) => sum + file.size, 0),
    newBytes: 0,
    newBlobs: 0,
    weights: modelWeights(config).length,
  };
}
