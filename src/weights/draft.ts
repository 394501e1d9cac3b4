import { encodingOf } from "../io/byte-encoding.ts";
import { FormatError } from "../errors.ts";
import type { FileDraft, ModelDraft, WeightDraft } from "../model/draft.ts";
import { chooseMethod } from "../compile/backends/choose-method.ts";
import type { WeightSource } from "./weight-source.ts";
import { borrowed, type OpenedSource, rangeWeights, type WeightPlace } from "./range.ts";

/** Options of data that is a model's. */
export interface ModelDataOptions {
  /** Which of its methods; may be left out where it has one only. */
  readonly method?: string | undefined;
  /** How errors call it; after the model if left out. */
  readonly name?: string | undefined;
}

/**
 * The weights of a model's files, whatever their format and wherever they are, and the constants beside them: a draft
 * says where. Whoever opened the draft's sources closes them, after the last use of the data.
 * @throws FormatError `size-mismatch`, naming file, tensor and offset; LinkError `not-found` for a method
 */
export function draftWeights(draft: ModelDraft, options: ModelDataOptions = {}): WeightSource {
  const first = draft.files[0]?.source.name ?? draft.format;
  const method = chooseMethod(options.name ?? first, draft.methods, options.method);
  const name = options.name ?? draft.files[method.file]?.source.name ?? first;
  const weights = [...method.weights, ...method.constants];
  return rangeWeights(
    name,
    weights.map((weight) => placeOf(draft, weight)),
  );
}

function placeOf(draft: ModelDraft, { name, dtype, shape, at }: WeightDraft): WeightPlace {
  const { source } = draft.files[at.file] as FileDraft;
  const { offset, length } = at;
  if (length > source.size - offset) {
    throw new FormatError(
      "size-mismatch",
      `Cannot read tensor "${name}" of "${source.name}": it ends at byte ${offset + length}, past the end of the file at ${source.size}`,
      { path: source.name, tensor: name, offset },
    );
  }
  const layout = { dtype, shape, digest: undefined };
  const open = async (): Promise<OpenedSource> => borrowed(source);
  return { key: name, layout, path: source.name, offset, length, ...encodingOf(at), open };
}
