import type { FlatTable } from "../../encodings/flatbuffer/table.ts";
import { type FileFail, shorten } from "../../errors.ts";
import { type ExecutorchLayout, parseLayout } from "./layout.ts";
import { ExtraFields, ProgramTensorFields } from "./schema.ts";

/** A tensor of a program. */
export interface ProgramTensor {
  readonly layout: ExecutorchLayout;
  /** Dynamism of the shape: 0 static, 1 an upper bound, 2 unknown. */
  readonly dynamism: number;
  /** Number of its constant or initial values; 0 for none. */
  readonly buffer: number;
  /** Whether its data are initial values, which change. */
  readonly mutable: boolean;
  /** Index of the list of its initial values. */
  readonly mutableSegment: number;
  /** Name in the source; `undefined` if the program has none. */
  readonly name: string | undefined;
  /** Whether another file has its data, under its name. */
  readonly external: boolean;
  /** Offset of its table, in bytes from the start of the file. */
  readonly at: number;
}

/**
 * Parses a tensor.
 * @param what describes it in errors
 * @throws FormatError `malformed`, `unsupported`, `too-large`
 */
export function parseProgramTensor(table: FlatTable, what: string, fail: FileFail): ProgramTensor {
  const extra = table.table(ProgramTensorFields.extra);
  const name = extra?.string(ExtraFields.name) || undefined;
  const external = extra?.int8(ExtraFields.location) === 1;
  const buffer = table.uint32(ProgramTensorFields.buffer);
  const called = name ?? what;
  if (external && name === undefined) {
    throw fail("malformed", "its data is in another file, and it has no name", {
      offset: table.at,
      tensor: called,
    });
  }
  if (table.int32(ProgramTensorFields.storageOffset) !== 0 && (external || buffer > 0)) {
    throw fail("unsupported", "it starts inside its data", { offset: table.at, tensor: shorten(called) });
  }
  const segment = extra?.uint64(ExtraFields.mutableSegment) ?? 0n;
  return {
    layout: parseLayout(table, ProgramTensorFields, called, fail),
    dynamism: table.int8(ProgramTensorFields.dynamism),
    buffer,
    mutable: table.position(ProgramTensorFields.allocation, 4) !== undefined,
    mutableSegment: Number(segment),
    name,
    external,
    at: table.at,
  };
}
