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
  /** Id of the backend. */
  readonly id: string;
  /** The backend's compiled blob: a segment, or a range of the tables. */
  readonly blob: SegmentRange;
}

/** An input or output; `undefined` for values other than tensors. */
export type ProgramPort = ProgramTensor | undefined;

/** A method of a program. */
export interface ProgramPlan {
  readonly name: string;
  /** Tensors with data, in the order of the method's values. */
  readonly tensors: readonly ProgramTensor[];
  readonly delegates: readonly ProgramDelegate[];
  readonly inputs: readonly ProgramPort[];
  readonly outputs: readonly ProgramPort[];
}

/** The tables of a program. */
export interface ParsedProgram {
  readonly plans: readonly ProgramPlan[];
  readonly segments: readonly SegmentRange[];
  /** Ranges of constants by their number; number 0 is not used. */
  readonly constants: readonly SegmentRange[];
  /** Ranges of initial values of mutable tensors, a list for each segment. */
  readonly mutable: readonly (readonly SegmentRange[])[];
  readonly named: readonly NamedEntry[];
}

/**
 * Parses the tables of a program (.pte). The segments are not needed.
 * Source: schema/program.fbs of ExecuTorch 1.5.
 * @throws FormatError `malformed`, `duplicate`, `too-large`, `unsupported`; `size-mismatch` if data is cut off
 */
export function parseProgram(pages: Pages, extent: FileExtent): ParsedProgram {
  const fail = fileErrors(pages);
  const root = new Flatbuffer(pages).root();
  const segments = parseSegments(root, ProgramFields.segments, extent, fail);
  const inline = [...root.tables(ProgramFields.delegateData)].map(storageOf);
  const constant = root.table(ProgramFields.constantSegment);
  const inSegment = constant ? parseSubsegments(constant, segments, fail) : [];
  // If a program has both, the runtime prefers the segment.
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

/** Data in the tables: a constant's, or a backend's blob. Both are in the first field. */
function storageOf(table: FlatTable): SegmentRange {
  const vector = table.vector(BufferFields.storage, 1);
  return vector ? { offset: vector.at, length: vector.count } : { offset: table.at, length: 0 };
}

/** Parses the parts of a segment; each may extend to the segment's end. */
function parseSubsegments(
  table: FlatTable,
  segments: readonly SegmentRange[],
  fail: FileFail,
): SegmentRange[] {
  const offsets = table.uint64s(SubsegmentsFields.offsets);
  const nth = table.uint32(SubsegmentsFields.segment);
  const segment = segments[nth];
  if (!segment) {
    // A program without constants may name a segment that does not exist.
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
