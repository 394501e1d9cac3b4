import type { FieldEdits, WriteField } from "../../encodings/flatbuffer/rewrite.ts";
import type { Flatbuffer, FlatTable } from "../../encodings/flatbuffer/table.ts";
import type { FileFail } from "../../errors.ts";
import { parseProgramTensor, type ProgramTensor } from "./parse-tensor.ts";
import { extraTable } from "./program-tables.ts";
import {
  ExtraFields,
  PlanFields,
  ProgramFields,
  ProgramTensorFields,
  TENSOR_KIND,
  ValueFields,
} from "./schema.ts";

/** A tensor and its table. */
export interface TensorTable {
  readonly tensor: ProgramTensor;
  readonly table: FlatTable;
}

/** The tensors of all methods of a program. */
export function* programTensors(buffer: Flatbuffer, fail: FileFail): Generator<TensorTable, void, undefined> {
  for (const plan of buffer.root().tables(ProgramFields.plans)) {
    for (const value of plan.tables(PlanFields.values)) {
      const table = value.int8(ValueFields.kind) === TENSOR_KIND ? value.table(ValueFields.value) : undefined;
      if (table) yield { table, tensor: parseProgramTensor(table, "a value", fail) };
    }
  }
}

/** The name of a constant without a name in its program. */
export function nameOfConstant(nth: number): string {
  return `constant ${nth}`;
}

/** Whether a tensor's name is {@link nameOfConstant}, with a number after it for further shapes. */
export function isGivenName({ name, buffer }: ProgramTensor): boolean {
  return name?.replace(/ \(\d+\)$/, "") === nameOfConstant(buffer);
}

/** Edits of tensors. */
export class TensorEdits {
  readonly all: Map<number, FieldEdits> = new Map();
  readonly #seen = new Set<number>();

  /** Whether a tensor occurs for the first time: several values may share one. */
  isNew(table: FlatTable): boolean {
    const { size } = this.#seen;
    return this.#seen.add(table.at).size > size;
  }

  /**
   * Sets the place of a tensor's data.
   * @param name `undefined` for none
   * @param constant number in the program; `undefined` for data in a data file
   */
  place(table: FlatTable, name: string | undefined, constant: number | undefined): void {
    const said: FieldEdits = new Map<number, WriteField>([
      [ExtraFields.name, (writer) => ({ offset: name === undefined ? undefined : writer.string(name) })],
      [ExtraFields.location, () => ({ width: 1, value: constant === undefined ? 1n : 0n })],
    ]);
    const fields = new Map<number, WriteField>();
    if (constant !== undefined) {
      fields.set(ProgramTensorFields.buffer, () => ({ width: 4, value: BigInt(constant) }));
    }
    const extra = table.table(ProgramTensorFields.extra);
    fields.set(ProgramTensorFields.extra, (writer, copy) => {
      if (extra && (constant === undefined || name !== undefined || saysMore(extra))) {
        return { offset: copy(extra, extraTable, said) };
      }
      if (constant !== undefined && name === undefined) return NOTHING;
      const written = extraTable.map((_, nth) => said.get(nth)?.(writer, copy) ?? NOTHING);
      return { offset: writer.table(written) };
    });
    this.all.set(table.at, fields);
  }
}

const NOTHING = { offset: undefined } as const;

/** Whether a tensor has facts beside its name and the place of its data. */
function saysMore(extra: FlatTable): boolean {
  extra.buffer.step(extra.at, extra.fields / 8);
  return Array.from({ length: extra.fields }).some(
    (_, field) =>
      field !== ExtraFields.name && field !== ExtraFields.location && extra.position(field, 1) !== undefined,
  );
}
