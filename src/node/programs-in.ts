import { readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { FormatError, UsageError } from "../errors.ts";
import type { Format } from "../formats/format.ts";
import { isModelFile, MODEL_FILES, recognizeFormat, SIDE_EXTENSIONS } from "../formats/registry.ts";
import { openFileSource } from "./file-source.ts";
import { requireOwnFiles } from "./foreign-link.ts";

/** The files of a folder that are its model. */
export interface FolderPrograms {
  readonly names: readonly string[];
  /** What people should know about the other files, in sentences. */
  readonly notes: readonly string[];
}

/** Small files that belong to a model in a folder (tokenizer, settings, licence) and go with it. */
export const COMPANIONS: readonly string[] = [".json", ".txt", ".md", ".model", ".jinja", ".yaml", ".yml"];

/** The names that trainers give to their own state: Hugging Face's, Accelerate, DeepSpeed, PyTorch's FSDP. */
const TRAINER_STATE =
  /^(?:(?:optimizer|optim|scheduler|lr_scheduler|scaler|grad_scaler|sampler|dl_state_dict|rng_states?|random_states|training_args|training_state|trainer_state|custom_checkpoint)(?:[-_.]?\d+)*(?:-of-\d+)?|.*_optim_states)\.(?:pt|pth|bin|pkl|ckpt|npz|npy|safetensors)$/i;
/** Formats beside which a file of weights is known not to be the model: programs, and what its writers prefer. */
const LEADING: readonly string[] = ["onnx", "executorch", "mlir", "safetensors"];
const SPLIT = /-\d+-of-\d+(?=\.gguf$)/i;
const ADD_ONE = "Name the file that is the model: tare add FOLDER/FILE";

/** A file that is a model by its name or its first bytes. */
interface Candidate {
  readonly name: string;
  readonly format: Format;
}

/**
 * Finds the files of a folder that are its model. The state of a trainer never is, and is left out with a note.
 * @param path how errors name the folder
 * @throws FormatError `unknown-format` where there is none; UsageError where it is not known which of several it is
 */
export async function programsIn(folder: string, path: string): Promise<FolderPrograms> {
  const candidates = await candidatesIn(folder);
  const states = candidates.filter(({ name }) => TRAINER_STATE.test(name)).map(({ name }) => name);
  const models = candidates.filter(({ name }) => !TRAINER_STATE.test(name));
  if (models.length === 0) throw noModel(path, states);
  const leading = models.filter(({ name }) => isModelFile(name) && !isSide(name));
  const chosen = leading.length > 0 ? leading : models;
  const others = models.filter((each) => !chosen.includes(each)).map(({ name }) => name);
  const isClear = chosen.every(({ format }) => LEADING.includes(format.id));
  const endings = new Set(chosen.map(({ name }) => extname(name).toLowerCase()));
  if ((others.length > 0 && !isClear) || (leading.length === 0 && endings.size > 1)) {
    throw undecided(path, models);
  }
  refuseSeveralGguf(path, chosen);
  return {
    names: chosen.map(({ name }) => name),
    notes: [
      ...leftOut(states, "the state of a trainer"),
      ...leftOut(others, `no part of the ${chosen[0]?.format.label} model`),
    ],
  };
}

/** Files of a folder that are models by their names, or by what they start with, such as `pytorch_model.bin`. */
async function candidatesIn(folder: string): Promise<Candidate[]> {
  const named: Candidate[] = [];
  const signed: Candidate[] = [];
  const alike: Candidate[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const isNamed = isModelFile(name);
    if (!isNamed && (name.startsWith(".") || COMPANIONS.includes(extname(name).toLowerCase()))) continue;
    const stats = await stat(join(folder, name)).catch(() => undefined);
    if (!stats?.isFile()) {
      // Refuse by name what is called a model and cannot be read.
      if (isNamed && !stats) await requireOwnFiles(folder, [name]);
      if (!isNamed || stats?.isDirectory()) continue;
    }
    await using source = await openFileSource(join(folder, name));
    const format = await recognizeFormat({ path: name, source });
    if (!format) continue;
    const candidate = { name, format };
    if (isNamed) named.push(candidate);
    else (format.hasSignature ? signed : alike).push(candidate);
  }
  const certain = [...named, ...signed];
  return certain.length > 0 ? certain : alike;
}

function isSide(name: string): boolean {
  return SIDE_EXTENSIONS.includes(extname(name).toLowerCase());
}

function leftOut(names: readonly string[], what: string): string[] {
  if (names.length === 0) return [];
  const list = names.map((name) => `"${name}"`).join(", ");
  return [`${list} ${names.length > 1 ? "are" : "is"} left out: ${what}`];
}

function noModel(path: string, states: readonly string[]): FormatError {
  const [state] = states;
  return new FormatError("unknown-format", `Cannot find a model in "${path}"`, {
    path,
    hint:
      state === undefined
        ? `none of its files starts as a model does, or ends in ${MODEL_FILES.join(", ")}`
        : `"${state}" is the state of a trainer. To add that, name the file itself`,
  });
}

function undecided(path: string, models: readonly Candidate[]): UsageError {
  const names = models.map(({ name }) => `"${name}"`).join(", ");
  const endings = [...new Set(models.map(({ name }) => extname(name).toLowerCase()))].join(" and ");
  const doing = `Cannot make one model of ${endings} files in "${path}"`;
  return new UsageError("usage", `${doing}: any of ${names} may be the model`, { path, hint: ADD_ONE });
}

/** Several files of GGUF in one folder are one model in several quantizations, and what belongs to it. */
function refuseSeveralGguf(path: string, chosen: readonly Candidate[]): void {
  const files = chosen.filter(({ format }) => format.id === "gguf").map(({ name }) => name);
  const models = new Set(files.map((name) => name.replace(SPLIT, "")));
  if (models.size < 2) return;
  const list = [...models].map((name) => `"${name}"${/mmproj/i.test(name) ? " (a projector)" : ""}`);
  throw new UsageError("usage", `Cannot tell which GGUF file in "${path}" is the model: ${list.join(", ")}`, {
    path,
    hint: ADD_ONE,
  });
}
