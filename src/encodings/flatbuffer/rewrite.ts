import type { FormatError } from "../../errors.ts";
import type { Flatbuffer, FlatTable } from "./table.ts";
import { type FlatbufferStyle, type FlatField, FlatbufferWriter } from "./writer.ts";

/** The type of a table's field. Widths are in bytes. The kind of a union is in the field before it. */
export type FieldSpec =
  | { readonly kind: "number"; readonly width: 1 | 4 | 8 }
  | { readonly kind: "table" | "tables"; readonly table: TableSpec }
  | { readonly kind: "union"; readonly tables: readonly TableSpec[] }
  | VectorSpec;

/** A string, numbers, or bytes that may be aligned to more than the schema requires. */
type VectorSpec =
  | { readonly kind: "text" | "data" }
  | { readonly kind: "numbers"; readonly width: 1 | 4 | 8 };

/** The fields of a table, by their number. */
export type TableSpec = readonly FieldSpec[];

/** Edited fields of a table, by their number. */
export type FieldEdits = ReadonlyMap<number, WriteField>;

/**
 * Copies a table with its edits.
 * @param edits edits of this copy; those of the table by default
 * @returns a reference to the copy
 */
export type CopyTable = (table: FlatTable, spec: TableSpec, edits?: FieldEdits) => number;

/** Writes the new value of a field. */
export type WriteField = (writer: FlatbufferWriter, copy: CopyTable) => FlatField;

/** Edits of tables, by their offsets. */
export type TableEdits = ReadonlyMap<number, FieldEdits>;

/** Largest alignment of data to keep, in bytes. */
const MAX_ALIGNMENT = 4096;

/**
 * Rewrites a flatbuffer with edited fields: each table after the objects that it refers to, in the order of its fields.
 * In its style, a file of flatc (from JSON) or of Python's flatbuffers package is reproduced byte for byte.
 * @param style set `longest`: a shared table is written once for each of its users
 * @returns the flatbuffer, and its required alignment
 * @throws FormatError `unsupported` for fields and unions that the schema does not have, which would be lost;
 * `malformed`, `too-large`
 */
export function rewriteFlatbuffer(
  buffer: Flatbuffer,
  spec: TableSpec,
  edits: TableEdits,
  style: FlatbufferStyle,
): { readonly bytes: Uint8Array; readonly alignment: number } {
  const writer = new FlatbufferWriter(style);
  const copy: CopyTable = (table, fields, edited = edits.get(table.at)) => {
    // A layout may have room for thousands of fields, and any number of tables may share it.
    buffer.step(table.at, table.fields / 8);
    for (let field = fields.length; field < table.fields; field++) {
      if (table.position(field, 1) !== undefined) throw unknown(table, `field ${field} of a table`);
    }
    return writer.table(
      fields.map(
        (each, field) => edited?.get(field)?.(writer, copy) ?? copyField(writer, copy, table, field, each),
      ),
    );
  };
  const root = copy(buffer.root(), spec);
  return { bytes: writer.finish(root, buffer.identifier()), alignment: writer.alignment };
}

function copyField(
  writer: FlatbufferWriter,
  copy: CopyTable,
  table: FlatTable,
  field: number,
  spec: FieldSpec,
): FlatField {
  switch (spec.kind) {
    case "number":
      return { width: spec.width, value: table.number(field, spec.width) };
    case "table": {
      const child = table.table(field);
      return { offset: child && copy(child, spec.table) };
    }
    case "tables": {
      if (!table.vector(field, 4)) return { offset: undefined };
      const written: number[] = [];
      for (const child of table.tables(field)) written.push(copy(child, spec.table));
      return { offset: writer.offsets(written) };
    }
    case "union": {
      const child = table.table(field);
      if (!child) return { offset: undefined };
      const kind = Number(table.number(field - 1, 1));
      const fields = spec.tables[kind - 1];
      if (!fields) throw unknown(table, `kind ${kind} of a union`);
      return { offset: copy(child, fields) };
    }
    default:
      return { offset: copyVector(writer, table, field, spec) };
  }
}

function copyVector(
  writer: FlatbufferWriter,
  table: FlatTable,
  field: number,
  spec: VectorSpec,
): number | undefined {
  const width = spec.kind === "numbers" ? spec.width : 1;
  const vector = table.vector(field, width);
  if (!vector) return undefined;
  const { buffer } = table;
  const length = vector.count * width;
  buffer.step(vector.at, length / 64);
  const view = buffer.view(vector.at, length, "a vector");
  const bytes = new Uint8Array(view.buffer, view.byteOffset, length);
  if (spec.kind === "text") return writer.text(bytes);
  return writer.vector(bytes, width, spec.kind === "data" ? alignmentAt(vector.at) : width);
}

/** The possible alignment of data, by its offset: at least 16, as schemas require. */
function alignmentAt(offset: number): number {
  let alignment = 16;
  while (alignment < MAX_ALIGNMENT && offset % (alignment * 2) === 0) alignment *= 2;
  return alignment;
}

function unknown({ buffer, at: offset }: FlatTable, what: string): FormatError {
  return buffer.fail("unsupported", `it has ${what}, which tare does not know`, {
    offset,
    hint: "Something newer than tare knows wrote it: export it again with an older version",
  });
}
