import { FormatError, operationError, shorten } from "../../errors.ts";
import { matchesPattern } from "../../model/wildcard.ts";
import type { WeightSource } from "../../weights/weight-source.ts";

/** A tensor that a conversion leaves out. */
export interface SkippedTensor {
  readonly name: string;
  /** Why it could not be read, to follow "is"; left out if it could. */
  readonly form?: string;
}

/** What a conversion takes of a source. */
export interface ChosenTensors {
  readonly keys: readonly string[];
  readonly skipped: readonly SkippedTensor[];
}

/**
 * Chooses the tensors of a conversion: all but those that the caller leaves out.
 * @param patterns names to leave out; `*` stands for any characters
 * @throws FormatError `unsupported` with the first of the others that cannot be read
 */
export function chooseTensors(data: WeightSource, patterns: readonly string[]): ChosenTensors {
  const isSkipped = (name: string): boolean => patterns.some((pattern) => matchesPattern(pattern, name));
  const unread = data.unread ?? [];
  const [first, ...others] = unread.filter(({ name }) => !isSkipped(name));
  if (first) {
    const more = others.length > 0 ? `, and ${others.length} more cannot be read` : "";
    throw operationError(FormatError, {
      code: "unsupported",
      doing: `convert tensor "${shorten(first.name)}" of "${data.name}"`,
      reason: `it is ${first.form}${more}`,
      path: data.name,
      tensor: first.name,
      hint: `--skip '${first.name}' leaves it out${first.hint === undefined ? "" : `. ${first.hint}`}`,
    });
  }
  const keys = data.keys();
  return {
    keys: keys.filter((key) => !isSkipped(key)),
    skipped: [
      ...keys.filter(isSkipped).map((name) => ({ name })),
      ...unread.map(({ name, form }) => ({ name, form })),
    ],
  };
}
