import { join, resolve } from "node:path";
import { LinkError } from "../../errors.ts";
import { type ExportOptions, exportModel, type ExportResult } from "../../local-store/export.ts";
import { SplitFiles } from "./split-folder.ts";
import { openSplit } from "./split.ts";

/**
 * Restores the original files of a model, byte for byte, from the files of a split. Checks every weight against its
 * digest, and needs no store.
 * @param folder folder that {@link split} wrote
 * @param name name of the model; optional if the split has one model
 * @param path path of the new file, or of the new folder if the model has several files
 * @throws LinkError `not-found`; SourceError `not-found`, `exists`; StoreError `corrupted`, `missing-blob`
 */
export async function joinSplit(
  folder: string,
  name: string | undefined,
  path: string,
  options: ExportOptions = {},
): Promise<ExportResult> {
  const record = await openSplit(folder);
  const { models } = record;
  const model =
    name === undefined && models.length === 1 ? models[0] : models.find((each) => each.name === name);
  if (!model) {
    const what = name === undefined ? "it has several models" : `it has no model "${name}"`;
    throw new LinkError("not-found", `Cannot join "${resolve(folder)}": ${what}`, {
      path: join(folder),
      hint: `Give one of ${models.map((each) => each.name).join(", ")}`,
    });
  }
  const files = new SplitFiles(folder, record.files);
  const locations = new Map(record.locations.map(({ digest, ...location }) => [digest, location]));
  return exportModel(files, { config: model.config, locations }, path, options);
}
