import { type ErrorCode, LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { spellLayout, type TensorLayout } from "../tensor/tensor-layout.ts";

/** Names that a message spells out, of each kind; more are counted. */
const MOST_SPELLED = 5;

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
export interface NamedDataFindings {
  readonly missing: readonly string[];
  readonly mismatched: readonly MismatchedWeight[];
  readonly unused: readonly string[];
}

/** Data that does not fit: every case, by name. */
export class NamedDataError extends LinkError implements NamedDataFindings {
  readonly missing: readonly string[];
  readonly mismatched: readonly MismatchedWeight[];
  readonly unused: readonly string[];

  /** @param verb what cannot be done, with what */
  constructor(verb: string, findings: NamedDataFindings) {
    const { missing, mismatched, unused } = findings;
    const parts = [
      spell("missing", missing.map(quote)),
      spell("not the same", mismatched.map(spellMismatch)),
      spell("unused", unused.map(quote)),
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

function firstOf({ missing, mismatched, unused }: NamedDataFindings): [ErrorCode, string | undefined] {
  if (missing.length > 0) return ["missing-weight", missing[0]];
  if (mismatched.length > 0) return ["mismatch", mismatched[0]?.name];
  return ["unused-weight", unused[0]];
}

function spell(what: string, cases: readonly string[]): string {
  if (cases.length === 0) return "";
  const more = cases.length - MOST_SPELLED;
  return `${what}: ${cases.slice(0, MOST_SPELLED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function spellMismatch({ name, sides }: MismatchedWeight): string {
  const [one, other] = sides;
  const layouts = sides.map(spellLayout);
  // A digest says nothing where the layouts tell them apart already.
  const spelled = layouts[0] === layouts[1] ? sides.map(({ digest }) => digest) : layouts;
  return `${quote(name)} (${spelled[0]} in ${quote(one.source)}, ${spelled[1]} in ${quote(other.source)})`;
}

function quote(name: string): string {
  return `"${name}"`;
}
