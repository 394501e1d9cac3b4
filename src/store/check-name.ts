import { StoreError } from "../errors.ts";

/**
 * Checks that a name is valid as a tag of an OCI layout: every client accepts it, and it has no `..`.
 * @throws StoreError `bad-name`
 */
export function checkName(name: string): void {
  if (/^[A-Za-z0-9]+(?:[._/-]{1,2}[A-Za-z0-9]+)*$/.test(name) && name.length <= 128 && !name.includes(".."))
    return;
  throw new StoreError("bad-name", `Cannot use "${name}" as a name`, {
    hint: "Use up to 128 letters and digits, with . _ - or / between them",
  });
}
