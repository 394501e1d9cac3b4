import { type ErrorCode, LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { formatLayout, type TensorLayout } from "../tensor/tensor-layout.ts";

/** Names that a message spells out, of each kind; more are counted. */
const MAX_LISTED = 5;

/** What one side says a weight is. */
export interface WeightClaim extends TensorLayout {
  /** Who says so. */
  readonly source: string;
  readonly digest: Digest | undefined;
}

/** A weight that two sides do not mean the same by. */
export interface MismatchedWeight {
  readonly name: string;
  readonly sides: readonly [WeightClaim, WeightClaim];
}

/** Everything that keeps data and those who use it apart. */
export interface WeightFindings {
  readonly missing: readonly string[];
  readonly mismatched: readonly MismatchedWeight[];
  readonly unused: readonly string[];
}

/** Data that does not fit: every case, by name. */
export class WeightMismatchError extends LinkError implements WeightFindings {
  readonly missing: readonly string[];
  readonly mismatched: readonly MismatchedWeight[];
  readonly unused: readonly string[];

  /** @param verb what cannot be done, with what */
  constructor(verb: string, findings: WeightFindings) {
    const { missing, mismatched, unused } = findings;
    const parts = [
      format("missing", missing.map(quote)),
      format("not the same", mismatched.map(formatMismatch)),
      format("unused", unused.map(quote)),
    ];
    const [code, tensor] = firstOf(findings);
    super(code, `Cannot ${verb}: ${parts.filter((part) => part !== "").join("; ")}`, {
      tensor,
      digest: mismatched[0]?.name === tensor ? mismatched[0]?.sides[1].digest : undefined,
    });
    this.missing = missing;
    this.mismatched = mismatched;
    this.unused = unused;
  }
}

function firstOf({ missing, mismatched, unused }: WeightFindings): [ErrorCode, string | undefined] {
  if (missing.length > 0) return ["missing-weight", missing[0]];
  if (mismatched.length > 0) return ["mismatch", mismatched[0]?.name];
  return ["unused-weight", unused[0]];
}

function format(what: string, cases: readonly string[]): string {
  if (cases.length === 0) return "";
  const more = cases.length - MAX_LISTED;
  return `${what}: ${cases.slice(0, MAX_LISTED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function formatMismatch({ name, sides }: MismatchedWeight): string {
  const [one, other] = sides;
  const layouts = sides.map(formatLayout);
  // A digest says nothing where the layouts tell them apart already.
  const spelled = layouts[0] === layouts[1] ? sides.map(({ digest }) => digest) : layouts;
  return `${quote(name)} (${spelled[0]} in ${quote(one.source)}, ${spelled[1]} in ${quote(other.source)})`;
}

function quote(name: string): string {
  return `"${name}"`;
}
