import { type ByteSource, memorySource, type ReadOptions } from "../../bytes/byte-source.ts";
import { parsePages } from "../../encodings/flatbuffer/pages.ts";
import { Flatbuffer } from "../../encodings/flatbuffer/table.ts";
import { FormatError } from "../../errors.ts";
import { shorten } from "../failure.ts";
import { type Extent, readProgramHeader } from "./header.ts";
import { layOut, type NewSegment } from "./externalize-layout.ts";
import { type ChooseDataFile, type MovedTensors, moveTensors } from "./externalize-tensors.ts";
import type { Layout } from "./layout.ts";
import { type Bytes, type ParsedProgram, parseProgram } from "./parse-program.ts";
import { Program, Segment } from "./schema.ts";
import type { DataFileSpec } from "./write-data.ts";

/** Tables are rewritten in memory; where they are larger, what they hold inline is what makes them so. In bytes. */
const LARGEST_TABLES = 32 * 1024 * 1024;

/** A data file to write. */
export interface ExternalFile {
  /** What was chosen. */
  readonly name: string;
  readonly spec: DataFileSpec;
  /** Where in the program each of its segments lies now. */
  readonly from: readonly Bytes[];
}

/** A program whose weights are in data files. */
export interface ExternalizedProgram {
  /** Up to the first segment. */
  readonly head: Uint8Array;
  /** Ranges of the program as it was, and where they go; the bytes between are zeros. */
  readonly pieces: readonly { readonly offset: number; readonly from: Bytes }[];
  /** Of the new program, in bytes. */
  readonly size: number;
  /** In the order in which they were chosen. */
  readonly files: readonly ExternalFile[];
}

/** Data files as they are gathered. */
class DataFiles {
  readonly #files = new Map<
    string,
    {
      segments: { length: number }[];
      named: { key: string; segment: number; layout?: Layout }[];
      from: Bytes[];
    }
  >();
  readonly #keys = new Set<string>();

  add(name: string, key: string, from: Bytes, layout: Layout | undefined): void {
    if (this.#keys.has(key)) {
      throw new FormatError(
        "duplicate",
        `Cannot move "${shorten(key)}" to a data file: two weights have that name`,
        {
          tensor: key,
        },
      );
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
 * Moves constants and named data of a program to data files, as if they had been exported so: the program names them,
 * and ExecuTorch's runtime takes them from there. Nothing is read but tables; nothing is written.
 * @throws FormatError what reading throws; `unsupported` for programs that have their constants in the tables or are of
 * 2023, or have fields that are not known here; `duplicate`
 */
export async function externalizeProgram(
  source: ByteSource,
  choose: ChooseDataFile,
  options: ReadOptions = {},
): Promise<ExternalizedProgram> {
  const extent = await readProgramHeader(source, options);
  const program = await parsePages(source, extent.tables, (pages) => parseProgram(pages, extent), options);
  if (extent.base === undefined) throw refusal(source, "its constants, if it has any, are in its tables");
  if (extent.tables > LARGEST_TABLES) {
    throw refusal(source, `its tables have ${extent.tables} bytes: they hold more than tables`);
  }
  const tables = (await source.read(0, extent.tables, options)).slice();
  return parsePages(memorySource(tables, source.name), extent.tables, (pages) => {
    const buffer = new Flatbuffer(pages);
    const files = new DataFiles();
    const moved = moveTensors(buffer, program, choose, files);
    const droppedKeys = moveNamed(program, choose, files);
    return edit(source, tables, buffer, extent, program, moved, droppedKeys, files.all);
  });
}

/** Gathers named data. @returns the indices of the entries that go */
function moveNamed(program: ParsedProgram, choose: ChooseDataFile, files: DataFiles): Set<number> {
  const dropped = new Set<number>();
  for (const [nth, { key, segment, layout }] of program.named.entries()) {
    const range = program.segments[segment] as Bytes;
    const file = choose({ name: key, kind: "named", length: range.length });
    if (file === undefined) continue;
    files.add(file, key, range, layout);
    dropped.add(nth);
  }
  return dropped;
}

/** The tables with other offsets, and new tensors after them. */
function edit(
  source: ByteSource,
  tables: Uint8Array,
  buffer: Flatbuffer,
  extent: Extent,
  program: ParsedProgram,
  moved: MovedTensors,
  droppedKeys: ReadonlySet<number>,
  files: readonly ExternalFile[],
): ExternalizedProgram {
  const root = buffer.root();
  const added = moved.writer.tail();
  const oldEnd = Math.ceil(tables.byteLength / 16) * 16;
  const end = oldEnd + added.byteLength;
  const stays = new Set(
    program.named.filter((_, nth) => !droppedKeys.has(nth)).map(({ segment }) => segment),
  );
  const gone = new Set([...droppedKeys].map((nth) => program.named[nth]?.segment as number));
  for (const segment of stays) gone.delete(segment);
  const { head, segments, pieces, size, constantOffsets } = layOut(extent, program, moved, gone, end);
  const view = new DataView(head.buffer);
  head.set(tables);
  head.set(added, oldEnd);
  for (const [at, distance] of moved.values) view.setUint32(at, end - distance - at, true);
  for (const [nth, table] of [...root.tables(Program.segments)].entries()) {
    const { offset, length } = segments[nth] as NewSegment;
    for (const [field, value] of [
      [Segment.offset, offset],
      [Segment.size, length],
    ] as const) {
      const at = table.position(field, 4);
      if (at === undefined) continue;
      if (table.width(field) < 8) throw refusal(source, "its segments have offsets of 32 bits");
      view.setBigUint64(at, BigInt(value), true);
    }
  }
  const offsets = root.table(Program.constantSegment)?.vector(1, 8);
  if (offsets) constantOffsets.forEach((value, nth) => view.setBigUint64(offsets.at + 8 * nth, value, true));
  dropKeys(view, buffer, droppedKeys);
  view.setBigUint64(16, BigInt(end), true);
  view.setBigUint64(24, BigInt(head.byteLength), true);
  if (view.getUint32(12, true) >= 32) view.setBigUint64(32, BigInt(size - head.byteLength), true);
  return { head, pieces, size, files };
}

/** Takes entries out of the list of named data: those after them move up, which only leads further ahead. */
function dropKeys(view: DataView, buffer: Flatbuffer, dropped: ReadonlySet<number>): void {
  const vector = buffer.root().vector(Program.namedData, 4);
  if (!vector || dropped.size === 0) return;
  let kept = 0;
  for (let nth = 0; nth < vector.count; nth++) {
    if (dropped.has(nth)) continue;
    const target = buffer.follow(vector.at + 4 * nth, "a table");
    const at = vector.at + 4 * kept++;
    view.setUint32(at, target - at, true);
  }
  view.setUint32(vector.at - 4, kept, true);
}

function refusal({ name: path }: ByteSource, reason: string): FormatError {
  return new FormatError("unsupported", `Cannot move weights of "${path}" to data files: ${reason}`, {
    path,
    hint: "Export it again with a current ExecuTorch",
  });
}
