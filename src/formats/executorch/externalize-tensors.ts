import type { Flatbuffer, FlatTable } from "../../encodings/flatbuffer/table.ts";
import { FlatbufferWriter } from "../../encodings/flatbuffer/writer.ts";
import { FormatError } from "../../errors.ts";
import type { MovedConstants } from "./externalize-layout.ts";
import { failureIn, shorten } from "../failure.ts";
import type { Layout } from "./layout.ts";
import type { Bytes, ParsedProgram } from "./parse-program.ts";
import { parseTensor } from "./parse-tensor.ts";
import { Extra, Plan, Program, Tensor, TENSOR_KIND, Value } from "./schema.ts";

/** Fields of the tables that are written anew; one that is not among them would be lost. */
const TENSOR_FIELDS = 10;
const EXTRA_FIELDS = 5;

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
  add(file: string, key: string, from: Bytes, layout: Layout | undefined): void;
}

/** Tensors written anew. */
export interface MovedTensors extends MovedConstants {
  readonly writer: FlatbufferWriter;
  /** Where each value refers to its tensor, and the reference to the new one. */
  readonly values: readonly (readonly [at: number, reference: number])[];
}

/** Writes the tensors anew that are constants and are to be in data files. */
export function moveTensors(
  buffer: Flatbuffer,
  program: ParsedProgram,
  choose: ChooseDataFile,
  files: Gathering,
): MovedTensors {
  const fail = failureIn({ name: "the program" });
  const writer = new FlatbufferWriter();
  const values: [number, number][] = [];
  const chosen = new Map<number, string | undefined>();
  const keys = new Map<string, string>();
  const kept = new Map<number, number>();
  const moved = new Set<number>();
  for (const plan of buffer.root().tables(Program.plans)) {
    for (const value of plan.tables(Plan.values)) {
      const table = value.int8(Value.kind) === TENSOR_KIND ? value.table(Value.value) : undefined;
      if (!table) continue;
      const tensor = parseTensor(table, "a value", fail);
      const { buffer: constant, layout, external, mutable } = tensor;
      if (external || mutable || constant === 0) continue;
      const name = tensor.name ?? `constant ${constant}`;
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
        const { offset } = program.constants[constant] as Bytes;
        files.add(file, key, { offset, length }, layout);
      }
      values.push([value.position(Value.value, 4) as number, writeTensor(writer, table, layout, key)]);
    }
  }
  return { writer, values, kept, moved };
}

/** A tensor whose data is in another file. */
function writeTensor(writer: FlatbufferWriter, table: FlatTable, layout: Layout, key: string): number {
  const extra = table.table(Tensor.extra);
  refuseOthers(table, TENSOR_FIELDS, key);
  if (extra) refuseOthers(extra, EXTRA_FIELDS, key);
  const name = writer.string(key);
  const byte = (of: FlatTable | undefined, field: number): { width: 1; value: bigint } => ({
    width: 1,
    value: BigInt.asUintN(8, BigInt(of?.int8(field) ?? 0)),
  });
  const written = writer.table([
    { width: 8, value: extra?.uint64(Extra.mutableSegment) ?? 0n },
    { offset: name },
    { width: 1, value: 1n },
    byte(extra, 3),
    byte(extra, 4),
  ]);
  const sizes = writer.numbers(layout.sizes, 4);
  const order = writer.numbers(layout.dimOrder, 1);
  return writer.table([
    byte(table, Tensor.type),
    { width: 4, value: 0n },
    { offset: sizes },
    { offset: order },
    byte(table, 4),
    { width: 4, value: BigInt(table.uint32(Tensor.buffer)) },
    { offset: undefined },
    byte(table, 7),
    byte(table, Tensor.dynamism),
    { offset: written },
  ]);
}

function refuseOthers(table: FlatTable, known: number, key: string): void {
  for (let field = known; field < table.fields; field++) {
    if (table.position(field, 1) === undefined) continue;
    throw new FormatError(
      "unsupported",
      `Cannot move "${shorten(key)}" to a data file: its tensor has a field ${field}, which tare does not know`,
      { tensor: key, offset: table.at },
    );
  }
}
