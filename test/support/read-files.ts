import { memorySource } from "../../src/io/byte-source.ts";
import type { Format } from "../../src/formats/format.ts";
import type { ModelDraft } from "../../src/model/draft.ts";
import { checkDraft } from "../fuzz/check-draft.ts";

export type Files = Readonly<Record<string, Uint8Array>>;

/** Reads files that are a model together with what lies beside them, and checks what must hold of every model. */
export async function readFiles(
  format: Format,
  files: Files,
  given: readonly string[] = Object.keys(files),
): Promise<ModelDraft> {
  const opened = given.map((path) => ({ path, source: memorySource(files[path] as Uint8Array, path) }));
  const draft = await format.read(opened, {
    async open(path) {
      return Object.hasOwn(files, path) ? memorySource(files[path] as Uint8Array, path) : undefined;
    },
  });
  checkDraft(draft);
  return draft;
}
