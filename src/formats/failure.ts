import { fileErrors, type FormatError, shorten } from "../errors.ts";

/** What to do about a file that ends too early. */
export const CUT_OFF = "The file is cut off or damaged: get it again";

/** Makes the error for two files whose models would have the same name. */
export function sameName(path: string, name: string): FormatError {
  return fileErrors({ name: path })(
    "duplicate",
    `another file given with it is named "${shorten(name)}" too`,
    {
      hint: "Add each model by itself",
    },
  );
}
