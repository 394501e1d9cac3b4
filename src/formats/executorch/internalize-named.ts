import { FormatError, operationError, shorten } from "../../errors.ts";
import type { OpenProgram, ProgramEdits } from "./edit-program.ts";
import type { DataFile, DataFileEntry } from "./external.ts";
import { alignmentsOf, type SegmentContent } from "./place-segments.ts";
import { segmentUsers } from "./segment-users.ts";

/**
 * Adds named data to a program, in free segments or in new ones.
 * @param segments segments of the program; grows by new ones
 * @throws FormatError `duplicate` for a key that the program already has
 */
export function addNamed(
  open: OpenProgram,
  taken: readonly DataFileEntry[],
  segments: SegmentContent[],
): ProgramEdits["named"] {
  if (taken.length === 0) return undefined;
  const { program } = open;
  const own = new Set(program.named.map(({ key }) => key));
  const free = freeSegments(open);
  const homes = new Map<string, number>();
  const known = new Map<DataFile, readonly SegmentContent[]>();
  const added = taken.map(({ data, entry: { key, segment } }) => {
    if (own.has(key)) throw twice(key, open.name, data.source.name);
    const from = `${data.file} ${segment}`;
    const home = homes.get(from) ?? free.shift() ?? segments.length;
    homes.set(from, home);
    const contents = known.get(data) ?? contentsOf(data);
    known.set(data, contents);
    segments[home] = contents[segment] as SegmentContent;
    return { key, segment: home };
  });
  // In the order of their segments, as ExecuTorch's exporter writes them.
  const named: (number | (typeof added)[0])[] = [];
  const rest = [...added];
  for (const [nth, { segment }] of program.named.entries()) {
    while (rest[0] && rest[0].segment < segment) named.push(rest.shift() as (typeof added)[0]);
    named.push(nth);
  }
  return [...named, ...rest];
}

/** Empty segments without a use. */
function freeSegments(open: OpenProgram): number[] {
  const { constants, others } = segmentUsers(open);
  const named = open.program.named.map(({ segment }) => segment);
  const taken = new Set([...constants, ...others, ...named]);
  return [...open.program.segments.entries()].flatMap(([nth, { length }]) =>
    length === 0 && !taken.has(nth) ? [nth] : [],
  );
}

/** The segments of a data file, which start with the first. */
function contentsOf({ segments, file }: DataFile): SegmentContent[] {
  const base = segments[0]?.offset ?? 0;
  const { each } = alignmentsOf({ base, tables: base }, segments);
  return segments.map((from, nth) => ({
    alignment: each[nth] as number,
    length: from.length,
    pieces: from.length > 0 ? [{ offset: 0, from, file }] : [],
  }));
}

function twice(key: string, path: string, other: string): FormatError {
  return operationError(FormatError, {
    code: "duplicate",
    doing: `move "${shorten(key)}" into "${path}"`,
    reason: `it and "${other}" both have it`,
    path,
    tensor: key,
    hint: "Select what to move: --only",
  });
}
