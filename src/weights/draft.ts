import { FormatError } from "../errors.ts";
import {
  type FileDraft,
  LOOSE_NOTE,
  type MethodDraft,
  type ModelDraft,
  type WeightDraft,
} from "../model/draft.ts";
import { chooseMethod } from "./choose-method.ts";
import { rangeWeights, type WeightPlace } from "./range.ts";
import type { UnreadTensor, WeightSource } from "./weight-source.ts";

/** Options for the weights of a model. */
export interface ModelDataOptions {
  /** Name of the method; optional if the model has one method. */
  readonly method?: string | undefined;
  /** Name of the source, for errors; that of the model unless given. */
  readonly name?: string | undefined;
  /** Whether the keys include the constants of the method; without this, constants can be opened but are not listed. */
  readonly constants?: boolean | undefined;
}

/**
 * Makes a source of the weights and constants of one method of a draft. The opener of the draft's files closes them
 * after the last use of the weights.
 * @throws FormatError `size-mismatch`, with file, tensor and offset; LinkError `not-found` for a method
 */
export function draftWeights(draft: ModelDraft, options: ModelDataOptions = {}): WeightSource {
  const { constants = true } = options;
  const first = draft.files[0]?.source.name ?? draft.format;
  const method = chooseMethod(options.name ?? first, draft.methods, options.method);
  const name = options.name ?? draft.files[method.file]?.source.name ?? first;
  const source = draft.files[method.file]?.source.name ?? first;
  const table = rangeWeights(name, [
    ...method.weights.map((weight) => placeOf(draft, weight)),
    ...method.constants.map((weight) => ({ ...placeOf(draft, weight), unlisted: !constants })),
    ...loosePlaces(method, source, constants),
  ]);
  const notes = draft.notes?.filter((note) => !note.endsWith(LOOSE_NOTE));
  return { ...table, unread: unreadOf(method, constants), notes };
}

/** The loose tensors of a method that can be read, as if each were a file. */
export function loosePlaces({ loose = [] }: MethodDraft, path: string, constants: boolean): WeightPlace[] {
  return loose.flatMap(({ name: key, content, isConstant }) => {
    if (!content) return [];
    const { dtype, shape } = content;
    const source = content.open();
    const layout = { dtype, shape, digest: undefined };
    const unlisted = isConstant === true && !constants;
    return [{ key, layout, path, offset: 0, length: source.size, source, unlisted }];
  });
}

/** The loose tensors of a method that cannot be read. */
export function unreadOf({ loose = [] }: MethodDraft, constants: boolean): UnreadTensor[] {
  return loose.flatMap(({ name, form, hint, content, isConstant }) =>
    content || (isConstant && !constants) ? [] : [{ name, form, hint }],
  );
}

function placeOf(draft: ModelDraft, { name, dtype, shape, alignment, at }: WeightDraft): WeightPlace {
  const { source } = draft.files[at.file] as FileDraft;
  const { offset, length, varint, hex } = at;
  if (length > source.size - offset) {
    throw new FormatError(
      "size-mismatch",
      `Cannot read tensor "${name}" of "${source.name}": it ends at byte ${offset + length}, past the end of the file at ${source.size}`,
      { path: source.name, tensor: name, offset },
    );
  }
  const layout = { dtype, shape, digest: undefined, alignment };
  return { key: name, layout, path: source.name, offset, length, varint, hex: hex !== undefined, source };
}
