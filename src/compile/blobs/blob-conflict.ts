import { type ErrorCode, StoreError } from "../../errors.ts";
import type { Digest } from "../../tensor/digest.ts";
import { bothAlignments } from "../../io/align.ts";
import { MAX_ALIGNMENT } from "./alignment.ts";
import { sameLayout, formatLayout, type TensorLayout } from "../../tensor/tensor-layout.ts";

/** Number of conflicts that a message lists; it counts the others. */
const MAX_LISTED = 5;

/** A conflict between two values of one key. */
export interface BlobConflict {
  readonly key: string;
  readonly kind: "bytes" | "tag" | "layout" | "alignment";
  /** Both values, for the message. */
  readonly reason: string;
}

/** Properties of a key; unknown ones are `undefined`. */
export interface KeyClaim {
  readonly digest: Digest | undefined;
  /** Size in bytes. */
  readonly length: number | undefined;
  readonly alignment: number;
  readonly tag: string | undefined;
  readonly layout: TensorLayout | undefined;
}

/** Keys that would have two different values. */
export class BlobConflictError extends StoreError {
  /** All conflicts. */
  readonly conflicts: readonly BlobConflict[];

  constructor(verb: string, conflicts: readonly [BlobConflict, ...BlobConflict[]]) {
    const [first] = conflicts;
    const spelled = conflicts.slice(0, MAX_LISTED).map(({ key, reason }) => `"${key}" ${reason}`);
    const more = conflicts.length - spelled.length;
    const rest = more > 0 ? `; and ${more} more` : "";
    super(CODES[first.kind], `Cannot ${verb} ${spelled.join("; ")}${rest}`, { tensor: first.key });
    this.conflicts = conflicts;
  }
}

const CODES: Readonly<Record<BlobConflict["kind"], ErrorCode>> = {
  bytes: "duplicate",
  tag: "mismatch",
  layout: "mismatch",
  alignment: "too-large",
};

/** Compares the known value of a key with a new one. */
export function conflictsOf(key: string, known: KeyClaim, asked: KeyClaim): BlobConflict[] {
  const conflicts: BlobConflict[] = [];
  const add = (kind: BlobConflict["kind"], reason: string): void =>
    void conflicts.push({ key, kind, reason });
  if (known.digest && asked.digest && known.digest !== asked.digest) {
    const sides = [known, asked].map(({ digest, length }) => `${digest} (${length} bytes)`);
    add("bytes", `has bytes ${sides[0]}, and the new bytes are ${sides[1]}`);
  }
  if (known.tag !== asked.tag)
    add("tag", `is ${formatTag(known.tag)}, and the new value is ${formatTag(asked.tag)}`);
  if (known.layout && asked.layout && !sameLayout(known.layout, asked.layout)) {
    add("layout", `is ${formatLayout(known.layout)}, and the new value is ${formatLayout(asked.layout)}`);
  }
  return conflicts;
}

/** Compares alignments of one blob, whose common multiple may be over the limit. */
export function alignmentConflict(key: string, known: number, asked: number): BlobConflict[] {
  const both = bothAlignments(known, asked);
  if (both <= MAX_ALIGNMENT) return [];
  const reason = `needs alignment ${asked}, and keys with the same bytes need ${known}: together ${both}, over ${MAX_ALIGNMENT}`;
  return [{ key, kind: "alignment", reason }];
}

function formatTag(tag: string | undefined): string {
  return tag === undefined ? "embedded" : `tagged "${tag}"`;
}
