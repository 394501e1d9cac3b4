import type { Pages } from "../../encodings/flatbuffer/pages.ts";
import { Flatbuffer, type FlatTable } from "../../encodings/flatbuffer/table.ts";
import { fileErrors, type FileFail, shorten } from "../../errors.ts";
import type { FileExtent } from "./header.ts";
import { type NamedEntry, parseNamed, parseSegments, type SegmentRange } from "./segments.ts";
import { parseProgramTensor, type ProgramTensor } from "./parse-tensor.ts";
import {
  BufferFields,
  DelegateFields,
  PlanFields,
  ProgramFields,
  ReferenceFields,
  SubsegmentsFields,
  TENSOR_KIND,
  ValueFields,
} from "./schema.ts";

/** A subgraph that a backend runs. */
export interface ProgramDelegate {
  /** Of the backend. */
  readonly id: string;
  /** What the backend made of it; a segment, or inside the tables. */
  readonly blob: SegmentRange;
}

/** An input or output; `undefined` for what is no tensor. */
export type ProgramPort = ProgramTensor | undefined;

/** A method of a program. */
export interface ProgramPlan {
  readonly name: string;
  /** Those that have data, in the order of the method's values. */
  readonly tensors: readonly ProgramTensor[];
  readonly delegates: readonly ProgramDelegate[];
  readonly inputs: readonly ProgramPort[];
  readonly outputs: readonly ProgramPort[];
}

/** What stands in a program beside its data. */
export interface ParsedProgram {
  readonly plans: readonly ProgramPlan[];
  readonly segments: readonly SegmentRange[];
  /** Where the data of constants starts, by their number; 0 is nobody's. */
  readonly constants: readonly SegmentRange[];
  /** The same of tensors that change, a list for each segment of them. */
  readonly mutable: readonly (readonly SegmentRange[])[];
  readonly named: readonly NamedEntry[];
}

/**
 * Parses the tables of a program (.pte); of the segments nothing is needed but the file's size.
 * Source: schema/program.fbs of ExecuTorch 1.5.
 * @throws FormatError `malformed`, `duplicate`, `too-large`, `unsupported`; `size-mismatch` where data is cut off
 */
export function parseProgram(pages: Pages, extent: FileExtent): ParsedProgram {
  const fail = fileErrors(pages);
  const root = new Flatbuffer(pages).root();
  const segments = parseSegments(root, ProgramFields.segments, extent, fail);
  const inline = [...root.tables(ProgramFields.delegateData)].map(storageOf);
  const constant = root.table(ProgramFields.constantSegment);
  const inSegment = constant ? parseSubsegments(constant, segments, fail) : [];
  // What has both is read as the runtime does.
  const constants =
    inSegment.length > 0 ? inSegment : [...root.tables(ProgramFields.constantBuffer)].map(storageOf);
  const mutable = [...root.tables(ProgramFields.mutableSegments)].map((table) =>
    parseSubsegments(table, segments, fail),
  );
  const named = parseNamed(root, ProgramFields.namedData, segments, fail);
  const plans = [...root.tables(ProgramFields.plans)].map((table) =>
    parsePlan(table, segments, inline, fail),
  );
  const names = new Set<string>();
  for (const { name } of plans) {
    if (names.has(name)) throw fail("duplicate", `two methods are named "${shorten(name)}"`);
    names.add(name);
  }
  return { plans, segments, constants, mutable, named };
}

/** Data that lies in the tables: of a constant, or what a backend made. Both have it in their first field. */
function storageOf(table: FlatTable): SegmentRange {
  const vector = table.vector(BufferFields.storage, 1);
  return vector ? { offset: vector.at, length: vector.count } : { offset: table.at, length: 0 };
}

/** Where the parts of a segment start; each may go on to the segment's end. */
function parseSubsegments(
  table: FlatTable,
  segments: readonly SegmentRange[],
  fail: FileFail,
): SegmentRange[] {
  const offsets = table.uint64s(SubsegmentsFields.offsets);
  const nth = table.uint32(SubsegmentsFields.segment);
  const segment = segments[nth];
  if (!segment) {
    // A program that has no constants at all says where they would be.
    if (offsets.every((offset) => offset === 0n)) return offsets.map(() => ({ offset: 0, length: 0 }));
    throw fail("malformed", `its constants are in segment ${nth} of ${segments.length}`, {
      offset: table.at,
    });
  }
  return offsets.map((offset) => {
    if (offset > BigInt(segment.length)) {
      const reason = `a constant starts at byte ${offset} of a segment of ${segment.length}`;
      throw fail("size-mismatch", reason, { offset: table.at });
    }
    return { offset: segment.offset + Number(offset), length: segment.length - Number(offset) };
  });
}

function parsePlan(
  table: FlatTable,
  segments: readonly SegmentRange[],
  inline: readonly SegmentRange[],
  fail: FileFail,
): ProgramPlan {
  const name = table.string(PlanFields.name);
  if (!name) throw fail("malformed", "a method has no name", { offset: table.at });
  const values = [...table.tables(PlanFields.values)].map((value, nth): ProgramPort => {
    if (value.int8(ValueFields.kind) !== TENSOR_KIND) return undefined;
    const tensor = value.table(ValueFields.value);
    if (!tensor)
      throw fail("malformed", `value ${nth} of "${shorten(name)}" is an empty tensor`, { offset: value.at });
    return parseProgramTensor(tensor, `value ${nth} of ${shorten(name)}`, fail);
  });
  const ports = (field: number): ProgramPort[] =>
    table.int32s(field).map((nth) => {
      if (nth < 0 || nth >= values.length) {
        const reason = `an input or output of "${shorten(name)}" is value ${nth} of ${values.length}`;
        throw fail("malformed", reason, { offset: table.at });
      }
      return values[nth];
    });
  return {
    name,
    tensors: values.filter(
      (value) => value !== undefined && (value.external || value.buffer > 0),
    ) as ProgramTensor[],
    delegates: [...table.tables(PlanFields.delegates)].map((each) =>
      parseDelegate(each, segments, inline, fail),
    ),
    inputs: ports(PlanFields.inputs),
    outputs: ports(PlanFields.outputs),
  };
}

function parseDelegate(
  table: FlatTable,
  segments: readonly SegmentRange[],
  inline: readonly SegmentRange[],
  fail: FileFail,
): ProgramDelegate {
  const id = table.string(DelegateFields.id);
  const processed = table.table(DelegateFields.processed);
  if (!id || !processed) throw fail("malformed", "a delegate has no id or no data", { offset: table.at });
  const inSegment = processed.int8(ReferenceFields.location) === 1;
  const index = processed.uint32(ReferenceFields.index);
  const blob = (inSegment ? segments : inline)[index];
  if (!blob) {
    const where = inSegment ? `segment ${index} of ${segments.length}` : `blob ${index} of ${inline.length}`;
    throw fail("malformed", `what delegate "${shorten(id)}" runs is ${where}`, { offset: processed.at });
  }
  return { id, blob };
}
