import { type ErrorCode, LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { formatLayout, type TensorLayout } from "../tensor/tensor-layout.ts";

/** Number of cases of each kind that a message lists; it counts the others. */
const MAX_LISTED = 5;

/** A weight as one side describes it. */
export interface WeightClaim extends TensorLayout {
  /** Name of the side. */
  readonly source: string;
  /** Name of the weight on this side, if the sides have different names for it. */
  readonly key?: string | undefined;
  readonly digest: Digest | undefined;
}

/** A weight that two sides describe differently. */
export interface MismatchedWeight {
  readonly name: string;
  readonly sides: readonly [WeightClaim, WeightClaim];
}

/** A key that two different weights of a program would be bound to. */
export interface DuplicateWeight {
  readonly key: string;
  readonly names: readonly [string, string];
}

/** All mismatches between the weights of a program and those of a source. */
export interface WeightFindings {
  readonly missing: readonly string[];
  readonly mismatched: readonly MismatchedWeight[];
  readonly duplicate?: readonly DuplicateWeight[];
  readonly unused: readonly string[];
}

/** Hints by error code. */
export type WeightHints = Partial<
  Record<"missing-weight" | "mismatch" | "duplicate" | "unused-weight", string>
>;

/** Weights do not match a program. Lists every case by name; `code` and `tensor` are those of the first case. */
export class WeightMismatchError extends LinkError implements WeightFindings {
  readonly missing: readonly string[];
  readonly mismatched: readonly MismatchedWeight[];
  readonly duplicate: readonly DuplicateWeight[];
  readonly unused: readonly string[];

  /**
   * @param verb the operation with its objects: `use "a" for "b"`
   * @param path path of the program's file, if it is known
   */
  constructor(verb: string, findings: WeightFindings, hints: WeightHints = {}, path?: string) {
    const { missing, mismatched, duplicate = [], unused } = findings;
    const parts = [
      format("missing", missing.map(quote)),
      format("not the same", mismatched.map(formatMismatch)),
      format("used twice", duplicate.map(formatDuplicate)),
      format("unused", unused.map(quote)),
    ];
    const [code, tensor] = firstOf(findings);
    super(code, `Cannot ${verb}: ${parts.filter((part) => part !== "").join("; ")}`, {
      path,
      tensor,
      digest: code === "mismatch" ? mismatched[0]?.sides[1].digest : undefined,
      hint: hints[code],
    });
    this.missing = missing;
    this.mismatched = mismatched;
    this.duplicate = duplicate;
    this.unused = unused;
  }
}

function firstOf({
  missing,
  mismatched,
  duplicate = [],
  unused,
}: WeightFindings): [keyof WeightHints & ErrorCode, string | undefined] {
  if (missing.length > 0) return ["missing-weight", missing[0]];
  if (mismatched.length > 0) return ["mismatch", mismatched[0]?.name];
  if (duplicate.length > 0) return ["duplicate", duplicate[0]?.key];
  return ["unused-weight", unused[0]];
}

function format(what: string, cases: readonly string[]): string {
  if (cases.length === 0) return "";
  const more = cases.length - MAX_LISTED;
  return `${what}: ${cases.slice(0, MAX_LISTED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function formatMismatch({ name, sides }: MismatchedWeight): string {
  const layouts = sides.map(formatLayout);
  // Show digests only if the layouts are equal.
  const values = layouts[0] === layouts[1] ? sides.map(({ digest }) => digest) : layouts;
  const [one, other] = sides.map(({ source, key }, nth) => {
    return `${values[nth]} ${key === undefined ? "" : `as ${quote(key)} `}in ${quote(source)}`;
  });
  return `${quote(name)} (${one}, ${other})`;
}

function formatDuplicate({ key, names }: DuplicateWeight): string {
  return `${quote(key)} for ${names.map(quote).join(" and ")}`;
}

function quote(name: string): string {
  return `"${name}"`;
}
