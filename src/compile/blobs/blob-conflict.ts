import { type ErrorCode, StoreError } from "../../errors.ts";
import type { Digest } from "../../tensor/digest.ts";
import { bothAlignments } from "../../io/align.ts";
import { MAX_ALIGNMENT } from "./alignment.ts";
import { sameLayout, formatLayout, type TensorLayout } from "../../tensor/tensor-layout.ts";

/** Cases that a message spells out; more are counted. */
const MAX_LISTED = 5;

/** Two answers to what a key stands for. */
export interface BlobConflict {
  readonly key: string;
  readonly kind: "bytes" | "tag" | "layout" | "alignment";
  /** Both sides, in words. */
  readonly reason: string;
}

/** What is said of a key; what nobody said yet is `undefined`. */
export interface KeyClaim {
  readonly digest: Digest | undefined;
  /** In bytes. */
  readonly length: number | undefined;
  readonly alignment: number;
  readonly tag: string | undefined;
  readonly layout: TensorLayout | undefined;
}

/** Keys that would have to stand for two things. */
export class BlobConflictError extends StoreError {
  /** Every one of them. */
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

/** Compares what a key stands for with what is asked of it now. */
export function conflictsOf(key: string, known: KeyClaim, asked: KeyClaim): BlobConflict[] {
  const conflicts: BlobConflict[] = [];
  const add = (kind: BlobConflict["kind"], reason: string): void =>
    void conflicts.push({ key, kind, reason });
  if (known.digest && asked.digest && known.digest !== asked.digest) {
    const sides = [known, asked].map(({ digest, length }) => `${digest} (${length} bytes)`);
    add("bytes", `has bytes ${sides[0]}, the new ones are ${sides[1]}`);
  }
  if (known.tag !== asked.tag)
    add("tag", `is ${formatTag(known.tag)}, now it is to be ${formatTag(asked.tag)}`);
  if (known.layout && asked.layout && !sameLayout(known.layout, asked.layout)) {
    add("layout", `is ${formatLayout(known.layout)}, now it is to be ${formatLayout(asked.layout)}`);
  }
  return conflicts;
}

/** Compares alignments of one blob: a common multiple may be too much to ask for. */
export function alignmentConflict(key: string, known: number, asked: number): BlobConflict[] {
  const both = bothAlignments(known, asked);
  if (both <= MAX_ALIGNMENT) return [];
  const reason = `asks for alignment ${asked}, keys with the same bytes for ${known}: both take ${both}, over ${MAX_ALIGNMENT}`;
  return [{ key, kind: "alignment", reason }];
}

function formatTag(tag: string | undefined): string {
  return tag === undefined ? "embedded" : `tagged "${tag}"`;
}
