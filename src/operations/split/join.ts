import { join, resolve } from "node:path";
import { LinkError } from "../../errors.ts";
import { type ExportOptions, exportModel, type ExportResult } from "../../local-store/export.ts";
import { SplitFiles } from "./split-folder.ts";
import { openSplit } from "./split.ts";

/**
 * Undoes a split: writes a model's original files, byte for byte, from the files of the split. Every weight is checked
 * against its digest on the way; no store is needed.
 * @param folder what `TareStore.split` wrote
 * @param name may be left out where the split has one model
 * @param path the file, or the folder of a model with several
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
      hint: `name one of ${models.map((each) => each.name).join(", ")}`,
    });
  }
  const files = new SplitFiles(folder, record.files);
  const locations = new Map(record.locations.map(({ digest, ...location }) => [digest, location]));
  return exportModel(files, { config: model.config, locations }, path, options);
}
