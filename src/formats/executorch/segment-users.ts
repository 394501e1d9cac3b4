import type { OpenProgram } from "./edit-program.ts";
import { ProgramFields, SubsegmentsFields } from "./schema.ts";

/** Segments by their uses besides named data; one may have several. */
export interface SegmentUsers {
  /** Segments for constants, even if the program has none yet. */
  readonly constants: ReadonlySet<number>;
  /** Segments with initial values of mutable tensors, and with blobs of delegates. */
  readonly others: ReadonlySet<number>;
}

/** Finds the segments that a program uses, by their uses. */
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
