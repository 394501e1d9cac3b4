import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { FormatError, operationError, shorten } from "../../errors.ts";
import {
  cannotMove,
  type EditedProgram,
  editProgram,
  NEWER,
  openProgram,
  type OpenProgram,
  segmentsOf,
} from "./edit-program.ts";
import { keepConstants } from "./externalize-constants.ts";
import { type ChooseDataFile, type MovedTensors, moveTensors } from "./externalize-tensors.ts";
import type { ExecutorchLayout } from "./layout.ts";
import type { SegmentRange } from "./segments.ts";
import type { DataFileSpec } from "./write-data.ts";
import { segmentUsers } from "./segment-users.ts";

/** A data file to write. */
export interface ExternalFile {
  /** The chosen name. */
  readonly name: string;
  readonly spec: DataFileSpec;
  /** Range of each of its segments in the program. */
  readonly from: readonly SegmentRange[];
}

/** A program with its weights in data files. */
export interface ExternalizedProgram extends EditedProgram {
  /** In the order of the choices. */
  readonly files: readonly ExternalFile[];
}

/** Data files that grow weight by weight. */
class DataFiles {
  readonly #files = new Map<
    string,
    {
      segments: { length: number }[];
      named: { key: string; segment: number; layout?: ExecutorchLayout }[];
      from: SegmentRange[];
    }
  >();
  readonly #keys = new Set<string>();

  add(name: string, key: string, from: SegmentRange, layout: ExecutorchLayout | undefined): void {
    if (this.#keys.has(key)) {
      throw operationError(FormatError, {
        code: "duplicate",
        doing: `move "${shorten(key)}" to a data file`,
        reason: "two weights have that name",
        tensor: key,
      });
    }
    this.#keys.add(key);
    const file = this.#files.get(name) ?? { segments: [], named: [], from: [] };
    this.#files.set(name, file);
    let segment = file.from.findIndex(
      ({ offset, length }) => offset === from.offset && length === from.length,
    );
    if (segment < 0) {
      segment = file.from.push(from) - 1;
      file.segments.push({ length: from.length });
    }
    file.named.push({ key, segment, ...(layout && { layout }) });
  }

  get all(): ExternalFile[] {
    return [...this.#files].map(([name, { segments, named, from }]) => ({
      name,
      spec: { segments, named },
      from,
    }));
  }
}

/**
 * Moves constants and named data of a program to data files, as if exported so: the program names them, and
 * ExecuTorch's runtime loads them from there. Reads tables only, and writes nothing.
 * @throws FormatError what reading throws; `unsupported` for programs with constants in the tables, or with unknown
 * fields; `duplicate`
 */
export async function externalizeProgram(
  source: ByteSource,
  choose: ChooseDataFile,
  options: ReadOptions = {},
): Promise<ExternalizedProgram> {
  return openProgram(
    source,
    (open) => {
      if (open.extent.base === undefined) {
        throw cannotMove(source, "unsupported", "its constants, if it has any, are in its tables", {
          hint: NEWER,
        });
      }
      const files = new DataFiles();
      const moved = moveTensors(open, choose, files);
      const dropped = moveNamed(open, choose, files);
      return { ...withoutMoved(open, moved, dropped), files: files.all };
    },
    options,
  );
}

/** Collects named data. @returns indices of the entries that move */
function moveNamed({ program }: OpenProgram, choose: ChooseDataFile, files: DataFiles): Set<number> {
  const dropped = new Set<number>();
  for (const [nth, { key, segment, layout }] of program.named.entries()) {
    const range = program.segments[segment] as SegmentRange;
    const file = choose({ name: key, kind: "named", length: range.length });
    if (file === undefined) continue;
    files.add(file, key, range, layout);
    dropped.add(nth);
  }
  return dropped;
}

/** Lays out the program without moved weights. Segments keep their order; those that lose everything stay empty. */
function withoutMoved(open: OpenProgram, moved: MovedTensors, dropped: ReadonlySet<number>): EditedProgram {
  const { program, constantSegment } = open;
  if (constantSegment === undefined && moved.moved.size > 0) {
    throw cannotMove(open, "unsupported", "the constants are in the tables", { hint: NEWER });
  }
  const segments = segmentsOf(open);
  const { constants, others } = segmentUsers(open);
  const left = program.named.filter((_, nth) => !dropped.has(nth)).map(({ segment }) => segment);
  const inUse = new Set([...others, ...left]);
  if (moved.moved.size > 0 && inUse.has(constantSegment as number)) {
    const reason = `its constants are in segment ${constantSegment}, which has another use too`;
    throw cannotMove(open, "unsupported", reason, {});
  }
  for (const nth of dropped) {
    const segment = program.named[nth]?.segment as number;
    if (!inUse.has(segment) && !constants.has(segment))
      segments[segment] = { alignment: 1, length: 0, pieces: [] };
  }
  const edits = { tensors: moved.edits, segments, named: namedLeft(open, dropped) };
  const home = constantSegment === undefined ? undefined : program.segments[constantSegment];
  if (constantSegment === undefined || !home || moved.moved.size === 0) return editProgram(open, edits);
  const { offsets, ...content } = keepConstants(program.constants, moved, home);
  segments[constantSegment] = { alignment: segments[constantSegment]?.alignment ?? 1, ...content };
  return editProgram(open, { ...edits, constants: { segment: constantSegment, offsets } });
}

function namedLeft({ program }: OpenProgram, dropped: ReadonlySet<number>): number[] | undefined {
  if (dropped.size === 0) return undefined;
  return [...program.named.keys()].filter((nth) => !dropped.has(nth));
}
