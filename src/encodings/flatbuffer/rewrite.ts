import type { FormatError } from "../../errors.ts";
import type { Flatbuffer, FlatTable } from "./table.ts";
import { type FlatbufferStyle, type FlatField, FlatbufferWriter } from "./writer.ts";

/** What a field of a table is. Numbers are of so many bytes; which table a union is stands in the field before it. */
export type FieldSpec =
  | { readonly kind: "number"; readonly width: 1 | 4 | 8 }
  | { readonly kind: "table" | "tables"; readonly table: TableSpec }
  | { readonly kind: "union"; readonly tables: readonly TableSpec[] }
  | VectorSpec;

/** A string, numbers, or bytes that may be aligned to more than the schema says. */
type VectorSpec =
  | { readonly kind: "text" | "data" }
  | { readonly kind: "numbers"; readonly width: 1 | 4 | 8 };

/** The fields of a table, by their number. */
export type TableSpec = readonly FieldSpec[];

/** Fields of a table that are something else than they were, by their number. */
export type FieldEdits = ReadonlyMap<number, WriteField>;

/**
 * Writes a table as it was, but for what is edited in it.
 * @param edits of this copy; those of the table unless given
 * @returns what to refer to it by
 */
export type CopyTable = (table: FlatTable, spec: TableSpec, edits?: FieldEdits) => number;

/** Writes what a field has instead of what it had. */
export type WriteField = (writer: FlatbufferWriter, copy: CopyTable) => FlatField;

/** What is edited in tables, by where they are. */
export type TableEdits = ReadonlyMap<number, FieldEdits>;

/** Data that is aligned to more than this is not kept so, in bytes. */
const MAX_ALIGNMENT = 4096;

/**
 * Writes a flatbuffer anew, with some of its fields edited: each table after all that it refers to, in the order of its
 * fields. What flatc made of JSON, or Python's flatbuffers package of objects, comes out byte for byte in its style.
 * @param style `longest` matters: tables that many share are written once for each
 * @returns the flatbuffer, and what it must lie at a multiple of
 * @throws FormatError `unsupported` for fields and unions that the schema has not, which would be lost; `malformed`,
 * `too-large`
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

/** What data may have been aligned to: it lies at a multiple of that. 16 at least, as schemas ask. */
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
