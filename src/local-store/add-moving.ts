import { StoreError, TareError } from "../errors.ts";
import { modelWeights } from "../model/stored-model.ts";
import { openModel } from "../node/open-model.ts";
import { type AddOptions, type AddResult, addModel } from "./add.ts";
import { MoveImport } from "./move-import.ts";
import { checkName, listTags } from "./tags.ts";
import type { StorePaths } from "./store-paths.ts";
import { readStoredModel } from "./read-model.ts";

/** Options of {@link addMoving}. */
export interface MoveOptions extends AddOptions {
  /** The model's name; that of its file or folder unless given. */
  readonly as?: string | undefined;
  /** Bytes that are freed at a time, and on the disk twice until then; 256 MiB unless given. */
  readonly moveStepBytes?: number | undefined;
}

const STEP_BYTES = 256 * 1024 * 1024;

/**
 * Adds a model whose files go as they are added: so much of them is freed as the store has, and they are removed at the end.
 * Ended early, nothing is lost: the same add goes on, and the model's export gives the files back. Where the file
 * system cannot free parts of a file, they are removed at the end all the same.
 * @throws SourceError `unsupported` for files that others use too; what {@link addModel} throws
 */
export async function addMoving(
  layout: StorePaths,
  paths: readonly string[],
  options: MoveOptions,
): Promise<AddResult> {
  const resumed = await MoveImport.resume(layout, paths);
  if (resumed && "finished" in resumed) return resultOf(layout, resumed.finished);
  if (resumed) return moveFiles(layout, resumed, options);
  await using model = await openModel(paths, { signal: options.signal });
  const name = options.as ?? model.name;
  checkName(name);
  if (!options.replace && (await listTags(layout)).some((tag) => tag.name === name)) {
    throw new StoreError("name-taken", `Cannot add "${name}": another model has this name`, {
      path: layout.root,
      hint: "--as NAME names it otherwise, --replace takes the name",
    });
  }
  const begun = await MoveImport.begin(layout, paths, name, model.draft, model.files);
  return await moveFiles(layout, begun, { ...options, as: name });
}

async function moveFiles(layout: StorePaths, files: MoveImport, options: MoveOptions): Promise<AddResult> {
  await using _ = files;
  const name = options.as ?? files.name;
  try {
    const { moveStepBytes: stepBytes = STEP_BYTES } = options;
    const moving = { files, stepBytes };
    const result = await addModel(layout, name, files.draft, files.files, { ...options, moving });
    await files.finish(name);
    if (files.frees) return result;
    const note = "This file system cannot free parts of a file: the files went when all was added";
    return { ...result, notes: [...(result.notes ?? []), note] };
  } catch (error) {
    if (await files.abandon()) throw error;
    if (!(error instanceof TareError)) throw error;
    const { code, message, path, offset, tensor, digest, hint = "" } = error;
    const goesOn = "part of it is in the store: the same add goes on from there";
    throw new StoreError(code, message, {
      path,
      offset,
      tensor,
      digest,
      cause: error,
      hint: hint === "" ? goesOn : `${hint}; ${goesOn}`,
    });
  }
}

/** Of an add that had only files left to remove. */
async function resultOf(layout: StorePaths, name: string): Promise<AddResult> {
  const tag = (await listTags(layout)).find((each) => each.name === name);
  if (!tag)
    throw new StoreError("not-found", `Cannot find model "${name}" in the store`, { path: layout.root });
  const { config } = await readStoredModel(layout, name, tag.digest);
  return {
    name,
    digest: tag.digest,
    fileBytes: config.files.reduce((sum, file) => sum + file.size, 0),
    newBytes: 0,
    newBlobs: 0,
    weights: modelWeights(config).length,
  };
}
