import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { fileErrors, LinkError, operationError, shorten } from "../../errors.ts";
import {
  cannotMove,
  type EditedProgram,
  editProgram,
  NEWER,
  openProgram,
  type OpenProgram,
  segmentsOf,
} from "./edit-program.ts";
import { type DataFile, ExternalData } from "./external.ts";
import { addConstants, type NewConstant } from "./internalize-constants.ts";
import { addNamed } from "./internalize-named.ts";
import type { SegmentContent } from "./place-segments.ts";
import { isGivenName, programTensors, TensorEdits, type TensorTable } from "./program-tensors.ts";
import { readData } from "./read.ts";
import { type ExecutorchWeight, namedDataWeights } from "./weights.ts";

/** A program with its weights inside. */
export interface InternalizedProgram extends EditedProgram {
  /** Names of tensors that moved inside. */
  readonly constants: readonly string[];
  /** Keys of named data that moved inside. */
  readonly named: readonly string[];
  /** Names of tensors that stay in data files. */
  readonly external: readonly string[];
}

/**
 * Moves weights of data files into their program, as if exported so: tensors become constants, and all other keys
 * become named data, since any backend may look them up. Reads tables only, and writes nothing.
 * @param chooses whether to move a name or key
 * @throws FormatError what reading throws, `mismatch`, `duplicate`; `unsupported` for programs with constants in the
 * tables, or with unknown fields; LinkError `missing-weight` for weights that no data file has, `not-found` if there is
 * nothing to move
 */
export async function internalizeProgram(
  source: ByteSource,
  dataSources: readonly ByteSource[],
  chooses: (name: string) => boolean,
  options: ReadOptions = {},
): Promise<InternalizedProgram> {
  const files: DataFile[] = [];
  for (const each of dataSources) {
    files.push({ ...(await readData(each, options)), file: files.length + 1, source: each });
  }
  const data = new ExternalData(files);
  return openProgram(source, (open) => takeIn(open, source, data, chooses), options);
}

/** Advice for weights that cannot be moved. */
const SELECT = "select what to move: --only";

/** A tensor with its data in a data file. */
interface FoundTensor extends TensorTable {
  readonly weight: ExecutorchWeight;
}

function takeIn(
  open: OpenProgram,
  source: ByteSource,
  data: ExternalData,
  chooses: (name: string) => boolean,
): InternalizedProgram {
  const find = data.finder(namedDataWeights(open.program, 0), source, 0);
  const edits = new TensorEdits();
  const used = new Map<number, number>();
  const external = new Set<string>();
  const missing = new Set<string>();
  const names = new Set<string>();
  const found: FoundTensor[] = [];
  for (const each of programTensors(open.buffer, fileErrors(open))) {
    const { tensor } = each;
    if (!edits.isNew(each.table)) continue;
    if (!tensor.external) {
      if (tensor.buffer > 0 && !tensor.mutable) {
        used.set(tensor.buffer, Math.max(tensor.layout.length ?? 0, used.get(tensor.buffer) ?? 0));
      }
      continue;
    }
    const name = tensor.name as string;
    names.add(name);
    if (!chooses(name)) {
      external.add(name);
      continue;
    }
    const weight = find({ ...tensor, name });
    if (!weight) missing.add(name);
    // The program's own named data is already inside.
    if (!weight || weight.at.file === 0) continue;
    if (tensor.mutable) {
      const reason = `tensor "${shorten(name)}" is mutable, and a data file has its initial values`;
      throw cannotMove(open, "unsupported", reason, {
        tensor: name,
        offset: tensor.at,
        hint: "Select what to move: --only",
      });
    }
    found.push({ ...each, weight });
  }
  if (missing.size > 0) throw missingWeights(open.name, [...missing]);
  const taken = data.others(names, chooses, fileErrors(open));
  if (found.length === 0 && taken.length === 0) throw nothingElsewhere(open.name, external.size);

  const segments = segmentsOf(open);
  const constants = found.length > 0 ? placeFound(open, segments, found, used, edits) : undefined;
  const named = addNamed(open, taken, segments);
  return {
    ...editProgram(open, { tensors: edits.all, segments, constants, named }),
    constants: [...new Set(found.map(({ weight }) => weight.name))],
    named: taken.map(({ entry }) => entry.key),
    external: [...external],
  };
}

/** Places new data among the constants. */
function placeFound(
  open: OpenProgram,
  segments: SegmentContent[],
  found: readonly FoundTensor[],
  used: ReadonlyMap<number, number>,
  edits: TensorEdits,
): { readonly segment: number; readonly offsets: readonly bigint[] } {
  const { program, constantSegment } = open;
  const old = program.constants;
  if (constantSegment === undefined && old.length > 1) {
    throw cannotMove(open, "unsupported", "the constants are in the tables", { hint: NEWER });
  }
  const added = new Map<string, NewConstant>();
  const taken = new Set(used.keys());
  let next = Math.max(1, old.length);
  for (const { tensor, table, weight } of found) {
    const { file, offset, length } = weight.at;
    // Tensors of the same bytes are one constant. It gets back its former number, if that is free.
    const key = `${file} ${offset} ${length}`;
    const { buffer } = tensor;
    const isFree = buffer > 0 && buffer < old.length && !taken.has(buffer);
    const number = added.get(key)?.number ?? (isFree ? buffer : next++);
    taken.add(number);
    added.set(key, { number, file, from: { offset, length } });
    edits.place(table, isGivenName(tensor) ? undefined : tensor.name, number);
  }
  // A program without constants may still name a segment for them, which may have another use.
  const there = constantSegment === undefined ? undefined : program.segments[constantSegment];
  const home = there && (old.length > 1 || there.length === 0) ? constantSegment : undefined;
  const segment = home ?? segments.length;
  const range = (home === undefined ? undefined : there) ?? { offset: 0, length: 0 };
  const starts = home === undefined ? [range] : old;
  const { offsets, ...content } = addConstants(starts, used, range, [...added.values()]);
  segments[segment] = { alignment: segments[segment]?.alignment ?? 1, ...content };
  return { segment, offsets };
}

function missingWeights(path: string, [first = "", ...others]: readonly string[]): LinkError {
  const more = others.length > 0 ? ` and ${others.length} more` : "";
  const tensor = shorten(first);
  return operationError(LinkError, {
    code: "missing-weight",
    doing: `move weights into "${path}"`,
    reason: `no given data file has "${tensor}"${more}`,
    path,
    tensor: first,
    hint: `Name all data files (.ptd) of the program, or ${SELECT}`,
  });
}

function nothingElsewhere(path: string, external: number): LinkError {
  const reason =
    external > 0
      ? "the selection has nothing from data files"
      : "all its tensors are inside already, and no given data file has anything else";
  return operationError(LinkError, {
    code: "not-found",
    doing: `move weights into "${path}"`,
    reason,
    path,
    hint: "Backends may need more than the program lists: name the data files (.ptd) of its export",
  });
}
