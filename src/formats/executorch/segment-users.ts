import type { OpenProgram } from "./edit-program.ts";
import { ProgramFields, SubsegmentsFields } from "./schema.ts";

/** Segments by what is in them besides named data; one may have several uses. */
export interface SegmentUsers {
  /** Where constants are, or would be in a program that has none yet. */
  readonly constants: ReadonlySet<number>;
  /** What methods start from and change, and what delegates run. */
  readonly others: ReadonlySet<number>;
}

/** Tells which segments a program uses, and what for. */
export function segmentUsers({ buffer, program, constantSegment }: OpenProgram): SegmentUsers {
  const root = buffer.root();
  const constants = new Set<number>();
  if (constantSegment !== undefined) constants.add(constantSegment);
  const table = root.table(ProgramFields.constantSegment);
  if (table) constants.add(table.uint32(SubsegmentsFields.segment));
  const others = new Set<number>();
  for (const each of root.tables(ProgramFields.mutableSegments))
    others.add(each.uint32(SubsegmentsFields.segment));
  const blobs = new Set(program.plans.flatMap(({ delegates }) => delegates.map(({ blob }) => blob)));
  for (const [nth, segment] of program.segments.entries()) if (blobs.has(segment)) others.add(nth);
  return { constants, others };
}
