import type { WeightDraft } from "../../model/draft.ts";
import { type FileFail, shorten } from "../../errors.ts";
import { CUT_OFF } from "../failure.ts";
import { type ExecutorchLayout, weightLayout } from "./layout.ts";
import type { ParsedProgram, ProgramPlan } from "./parse-program.ts";
import type { SegmentRange } from "./segments.ts";
import type { ProgramTensor } from "./parse-tensor.ts";
import type { ParsedData } from "./parse-data.ts";

/** A weight, and why it is plain bytes, if it is. */
export interface ExecutorchWeight extends WeightDraft {
  /** For example For example "stored in the order [0, 2, 3, 1]". */
  readonly plain?: string;
}

/** Finds the weight of a program's tensor in another file. */
export type FindExternal = (
  tensor: ProgramTensor & { readonly name: string },
) => ExecutorchWeight | undefined;

/** The weights of a method. */
export interface PlanWeights {
  readonly weights: readonly ExecutorchWeight[];
  /** Names of missing tensors. */
  readonly missing: readonly string[];
}

/**
 * The weights of a method: its constants, initial values, blobs of delegates, and the named data of its program.
 * Tensors of the same bytes and layout are one weight.
 * @param file index of the program
 * @throws FormatError `malformed`; `size-mismatch` for a tensor whose data is too short
 */
export function planWeights(
  program: ParsedProgram,
  plan: ProgramPlan,
  file: number,
  find: FindExternal,
  fail: FileFail,
): PlanWeights {
  const weights = new DistinctWeights();
  const missing = new Set<string>();
  for (const tensor of plan.tensors) {
    const { name, external, layout } = tensor;
    if (external) {
      const found = find({ ...tensor, name: name as string });
      if (found) weights.add(found);
      else missing.add(name as string);
      continue;
    }
    const called = name ?? `${tensor.mutable ? "buffer" : "constant"} ${tensor.buffer}`;
    const { offset, length } = bytesOf(program, tensor, called, fail);
    if (layout.length !== undefined) {
      weights.add({ name: called, ...weightLayout(layout, length), at: { file, offset, length } });
    }
  }
  for (const [nth, { blob }] of plan.delegates.entries()) {
    weights.add({ name: delegateName(nth), ...weightLayout(undefined, blob.length), at: { file, ...blob } });
  }
  for (const weight of namedDataWeights(program, file)) weights.add(weight);
  return { weights: weights.all, missing: [...missing] };
}

/** The name of the weight of a method's nth delegate. */
export function delegateName(nth: number): string {
  return `delegate ${nth}`;
}

/** The weights of a file's named data. */
export function namedDataWeights(
  { named, segments }: Pick<ParsedData, "named" | "segments">,
  file: number,
): ExecutorchWeight[] {
  return named.map(({ key, segment, layout }) => {
    const { offset, length } = segments[segment] as SegmentRange;
    return { name: key, ...weightLayout(layout, length), at: { file, offset, length } };
  });
}

/** Whether two layouts are equal. */
export function sameExecutorchLayout(a: ExecutorchLayout, b: ExecutorchLayout): boolean {
  return (
    a.type === b.type &&
    a.sizes.join() === b.sizes.join() &&
    (a.dimOrder.join() === b.dimOrder.join() || (isPlain(a) && isPlain(b)))
  );
}

function isPlain(layout: ExecutorchLayout): boolean {
  return weightLayout(layout, 0).plain === undefined;
}

/** The range of a tensor's data, of exactly its layout's size; for an unknown type, all bytes that may belong to it. */
function bytesOf(
  program: ParsedProgram,
  tensor: ProgramTensor,
  called: string,
  fail: FileFail,
): SegmentRange {
  const { buffer, mutable, mutableSegment, layout, at } = tensor;
  const list = mutable ? (program.mutable[mutableSegment] ?? []) : program.constants;
  const bytes = list[buffer];
  if (!bytes) {
    const kind = mutable ? "initial values" : "constants";
    throw fail("malformed", `it is number ${buffer} of ${list.length} ${kind}`, {
      offset: at,
      tensor: called,
    });
  }
  const length = layout.length ?? bytes.length;
  if (length > bytes.length) {
    const reason = `[${layout.sizes.join(", ")}] of scalar type ${layout.type} takes ${length} bytes, ${bytes.length} are there`;
    throw fail("size-mismatch", reason, { offset: bytes.offset, tensor: called, hint: CUT_OFF });
  }
  return { offset: bytes.offset, length };
}

/** Weights of one method under distinct names. */
class DistinctWeights {
  readonly all: ExecutorchWeight[] = [];
  readonly #names = new Map<string, ExecutorchWeight>();

  add(weight: ExecutorchWeight): void {
    for (let nth = 1; ; nth++) {
      const name = nth === 1 ? weight.name : `${weight.name} (${nth})`;
      const other = this.#names.get(name);
      if (!other) {
        const named = { ...weight, name };
        this.#names.set(name, named);
        this.all.push(named);
        return;
      }
      if (sameWeight(weight, other)) return;
    }
  }
}

function sameWeight(a: ExecutorchWeight, b: ExecutorchWeight): boolean {
  return (
    a.at.file === b.at.file &&
    a.at.offset === b.at.offset &&
    a.at.length === b.at.length &&
    a.dtype === b.dtype &&
    a.shape.join() === b.shape.join()
  );
}

/** A note for each reason why weights are plain bytes. */
export function plainBytesNotes(weights: Iterable<ExecutorchWeight>): string[] {
  const odd = new Map<string, Set<string>>();
  for (const { name, plain } of weights) {
    if (plain === undefined) continue;
    const names = odd.get(plain);
    if (names) names.add(name);
    else odd.set(plain, new Set([name]));
  }
  return [...odd].map(([plain, names]) => {
    const [first = ""] = names;
    const are = names.size > 1 ? `and ${names.size - 1} more are` : "is";
    return `Tensor "${shorten(first)}" ${are} ${plain}: kept as plain bytes`;
  });
}
