import type { TableEdits } from "../../encodings/flatbuffer/rewrite.ts";
import { fileErrors } from "../../errors.ts";
import type { OpenProgram } from "./edit-program.ts";
import type { MovedConstants } from "./externalize-constants.ts";
import type { ExecutorchLayout } from "./layout.ts";
import type { SegmentRange } from "./segments.ts";
import { nameOfConstant, programTensors, TensorEdits } from "./program-tensors.ts";

/** A weight that can go to a data file. */
export interface MovableWeight {
  /** A constant's name in the program, else `constant N`; the key of named data. */
  readonly name: string;
  readonly kind: "constant" | "named";
  /** In bytes. */
  readonly length: number;
}

/** Which data file a weight goes to; `undefined` for what stays in the program. */
export type ChooseDataFile = (weight: MovableWeight) => string | undefined;

/** Where weights of data files are gathered. */
interface Gathering {
  add(file: string, key: string, from: SegmentRange, layout: ExecutorchLayout | undefined): void;
}

/** Tensors whose data is elsewhere. */
export interface MovedTensors extends MovedConstants {
  readonly edits: TableEdits;
}

/** Gathers the constants that are to be in data files. */
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
    // The same constant in another shape has a key of its own: a data file says one shape of each.
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
