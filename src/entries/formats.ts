/**
 * The container formats: recognizing a file, reading where its weights are, and adding a format.
 *
 * @example
 * ```ts
 * import { FORMATS, createRegistry } from "tare/formats";
 *
 * const formats = createRegistry([...FORMATS.formats, mine]);
 * ```
 * @module
 */
export { createRegistry, type FormatRegistry } from "../formats/create-registry.ts";
export type { Format, ModelFile, ModelFolder } from "../formats/format.ts";
export type {
  Checksum,
  Checksums,
  FileLayout,
  FolderLayout,
  LayOut,
  LayoutPiece,
  WeightSpec,
} from "../formats/lay-out.ts";
export { FORMATS } from "../formats/registry.ts";
export type { FileDraft, MethodDraft, ModelDraft, WeightDraft, WeightRange } from "../model/draft.ts";
export { draftWeights, type ModelDataOptions } from "../weights/draft.ts";
export { openHttpModel } from "../weights/open-http-model.ts";
