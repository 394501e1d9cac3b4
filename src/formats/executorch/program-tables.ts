import type { FieldSpec, TableSpec } from "../../encodings/flatbuffer/rewrite.ts";

const byte: FieldSpec = { kind: "number", width: 1 };
const int: FieldSpec = { kind: "number", width: 4 };
const long: FieldSpec = { kind: "number", width: 8 };
const text: FieldSpec = { kind: "text" };
const bytes: FieldSpec = { kind: "numbers", width: 1 };
const ints: FieldSpec = { kind: "numbers", width: 4 };
const longs: FieldSpec = { kind: "numbers", width: 8 };
const data: FieldSpec = { kind: "data" };
const one = (...table: TableSpec): FieldSpec => ({ kind: "table", table });
const many = (...table: TableSpec): FieldSpec => ({ kind: "tables", table });
const oneOf = (...tables: readonly TableSpec[]): readonly FieldSpec[] => [byte, { kind: "union", tables }];

/** Optional facts about a tensor. */
export const extraTable: TableSpec = [long, text, byte, byte, byte];
const allocation = one(int, int, int);
const tensor: TableSpec = [byte, int, ints, bytes, byte, int, allocation, byte, byte, one(...extraTable)];
/** None, integer, boolean, float, tensor, string; lists of integers, floats, booleans, tensors and optional tensors. */
const value = oneOf([], [long], [byte], [long], tensor, [text], [longs], [longs], [bytes], [ints], [ints]);
/** A kernel call, a delegate call, a move, a jump, and the release of a value. */
const instruction = oneOf([int, ints], [int, ints], [int, int], [int, int], [int]);
const frames = many(text, int, text, text);
const chain = many(ints, ints, many(...instruction), many(frames));
const delegate = many(text, one(byte, int), many(text, bytes));
const plan: TableSpec = [
  text,
  one(text, text),
  many(...value),
  ints,
  ints,
  chain,
  many(text, text),
  delegate,
  longs,
  many(int, byte, byte),
];

/** The starts of a segment's parts. */
const subsegments: TableSpec = [int, longs];
/** The place of a segment. */
export const segmentTable: TableSpec = [long, long];
/** A key and its segment. */
export const namedTable: TableSpec = [text, int];

/**
 * All fields of a program's tables, in the order of their numbers.
 * Source: schema/program.fbs of ExecuTorch 1.5.
 */
export const programTable: TableSpec = [
  int,
  many(...plan),
  many(data),
  many(data),
  many(...segmentTable),
  one(...subsegments),
  many(...subsegments),
  many(...namedTable),
];
