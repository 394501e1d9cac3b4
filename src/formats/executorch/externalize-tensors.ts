import type { TableEdits } from "../../encodings/flatbuffer/rewrite.ts";
import { fileErrors } from "../../errors.ts";
import type { OpenProgram } from "./edit-program.ts";
import type { MovedConstants } from "./externalize-constants.ts";
import type { ExecutorchLayout } from "./layout.ts";
import type { SegmentRange } from "./segments.ts";
import { nameOfConstant, programTensors, TensorEdits } from "./program-tensors.ts";

/** A weight that can move to a data file. */
export interface MovableWeight {
  /** The constant's name in the program, or `constant N`; for named data, its key. */
  readonly name: string;
  readonly kind: "constant" | "named";
  /** In bytes. */
  readonly length: number;
}

/** Chooses the data file of a weight; `undefined` keeps it in the program. */
export type ChooseDataFile = (weight: MovableWeight) => string | undefined;

/** Collects the weights of data files. */
interface Gathering {
  add(file: string, key: string, from: SegmentRange, layout: ExecutorchLayout | undefined): void;
}

/** Edits of tensors whose data moves to data files. */
export interface MovedTensors extends MovedConstants {
  readonly edits: TableEdits;
}

/** Collects the constants that move to data files. */
export function moveTensors(open: OpenProgram, choose: ChooseDataFile, files: Gathering): MovedTensors {
  const edits = new TensorEdits();
  const chosen = new Map<number, string | undefined>();
  const keys = new Map<string, string>();
  const kept = new Map<number, number>();
  const moved = new Set<number>();
  for (const { tensor, table } of programTensors(open.buffer, fileErrors(open))) {
    const { buffer: constant, layout, external, mutable } = tensor;
    if (external || mutable || constant === 0 || !edits.isNew(table)) continue;
    const name = tensor.name ?? nameOfConstant(constant);
    const length = layout.length;
    if (length !== undefined && !chosen.has(constant)) {
      chosen.set(constant, choose({ name, kind: "constant", length }));
    }
    const file = chosen.get(constant);
    if (file === undefined || length === undefined) {
      kept.set(constant, Math.max(length ?? 0, kept.get(constant) ?? 0));
      continue;
    }
    moved.add(constant);
    // The same constant in another shape has another key: a data file has one shape per key.
    const shape = `${constant} ${name} ${layout.type} ${layout.sizes.join()} ${layout.dimOrder.join()}`;
    let key = keys.get(shape);
    if (key === undefined) {
      const taken = [...keys.values()];
      for (let nth = 1; key === undefined || taken.includes(key); nth++)
        key = nth === 1 ? name : `${name} (${nth})`;
      keys.set(shape, key);
      const { offset } = open.program.constants[constant] as SegmentRange;
      files.add(file, key, { offset, length }, layout);
    }
    edits.place(table, key, undefined);
  }
  return { edits: edits.all, kept, moved };
}
