import { builtinResources, type MlirBytecode, type MlirResourceGroup } from "./bytecode.ts";
import { isLinkGroup } from "./link-manifest.ts";
import { type BlobLayout, type MlirPiece, piecesLength } from "./piece.ts";
import { BUILTIN, MAPPED_FROM, PAGE, MIN_BUFFER_ALIGNMENT } from "./schema.ts";
import { keepGroup, layoutBytecode, type NewContent, type NewGroup } from "./write.ts";

/** The layout of a file with its weights. */
export interface FilledBytecode {
  readonly pieces: readonly MlirPiece[];
  /** Notes on differences from the requested layout. */
  readonly notes: readonly string[];
}

/** Resources of a thin file without bytes. */
export function declaredKeys(file: MlirBytecode): string[] {
  return builtinResources(file).flatMap(({ name, content }) => (content.kind === "declared" ? [name] : []));
}

/**
 * Lays out a thin file with weights inside and without its manifest, byte for byte as the LLVM that wrote it does for
 * the same program with weights.
 */
export function fillBytecode(file: MlirBytecode, weights: ReadonlyMap<string, BlobLayout>): FilledBytecode {
  const { strings, renumber } = stringsWithout(file);
  const layOut = (most: number, producerSuffix = ""): MlirPiece[] => {
    const contentOf = (key: string): NewContent | undefined => {
      const weight = weights.get(key);
      if (!weight) return undefined;
      const data: MlirPiece = { kind: "weight", key, length: weight.length, hex: false };
      return { kind: "blob", alignment: Math.min(weight.alignment, most), data };
    };
    const external = file.external.flatMap((group) =>
      isLinkGroup(group.name) ? [] : [keepGroup(group, renumber, undefined, renumber(group.owner))],
    );
    const dialects = file.dialects.map(
      (group): NewGroup =>
        group.name === BUILTIN ? keepGroup(group, renumber, contentOf) : keepGroup(group, renumber),
    );
    return layoutBytecode(file, { strings, external, dialects, producerSuffix });
  };
  return alignForReaders(weights, layOut);
}

/**
 * LLVM reads a file that is small, or a multiple of the page, into a buffer aligned to 16, and maps other files to the
 * start of a page. It rejects a buffer that is aligned to less than a resource needs.
 */
function alignForReaders(
  weights: ReadonlyMap<string, BlobLayout>,
  layOut: (most: number, producerSuffix?: string) => MlirPiece[],
): FilledBytecode {
  let asked = 1;
  for (const { alignment } of weights.values()) asked = Math.max(asked, alignment);
  const plain = layOut(PAGE);
  const size = piecesLength(plain);
  const notes = asked > PAGE ? [`weights are aligned to ${PAGE}, not to ${asked}: no reader maps more`] : [];
  if (asked <= MIN_BUFFER_ALIGNMENT) return { pieces: plain, notes };
  if (size < MAPPED_FROM) {
    const reason = `weights are aligned to ${MIN_BUFFER_ALIGNMENT}, not to ${asked}`;
    const note = `${reason}: a file below ${MAPPED_FROM} bytes is not read with more`;
    return { pieces: layOut(MIN_BUFFER_ALIGNMENT), notes: [note] };
  }
  // Padding may absorb a longer header, so that the size stays: try more bytes.
  const longest = size % PAGE === 0 ? PAGE : 0;
  for (let more = 1; more <= longest; more++) {
    const pieces = layOut(PAGE, " ".repeat(more));
    if (piecesLength(pieces) % PAGE === 0) continue;
    const note = `the producer's name is ${more} bytes longer: a file of whole pages is not read with weights aligned to ${asked}`;
    return { pieces, notes: [...notes, note] };
  }
  return { pieces: plain, notes };
}

/**
 * The strings of a file without those of its manifest. LLVM numbers strings in the order of use, and resources come
 * last: so only resources reference the strings after the manifest's first, which can be renumbered as LLVM would. If
 * that does not hold, all strings stay, at the cost of some bytes.
 */
function stringsWithout(file: MlirBytecode): {
  readonly strings: readonly Uint8Array[];
  readonly renumber: (index: number) => number;
} {
  const link = file.external.filter(({ name }) => isLinkGroup(name));
  let first = Number.POSITIVE_INFINITY;
  for (const { content } of link.flatMap((group) => group.resources)) {
    if (content.kind === "string") first = Math.min(first, content.index);
  }
  const after = mentioned(file.external, file.dialects).filter((index) => index >= first);
  const inOrder =
    after.length === file.strings.length - first && after.every((each, nth) => each === first + nth);
  if (!inOrder) return { strings: file.strings, renumber: (index) => index };
  const kept = mentioned(
    file.external.filter((group) => !link.includes(group)),
    file.dialects,
  ).filter((index) => index >= first);
  const places = new Map(kept.map((index, nth) => [index, first + nth]));
  return {
    strings: [...file.strings.slice(0, first), ...kept.map((index) => file.strings[index] as Uint8Array)],
    renumber: (index) => places.get(index) ?? index,
  };
}

/** The strings that resources reference, each once, in LLVM's order. */
function mentioned(external: readonly MlirResourceGroup[], dialects: readonly MlirResourceGroup[]): number[] {
  const seen = new Set<number>();
  for (const group of [...external, ...dialects]) {
    for (const { content } of group.resources) if (content.kind === "string") seen.add(content.index);
    if (external.includes(group)) seen.add(group.owner);
    for (const { key } of group.resources) seen.add(key);
  }
  return [...seen];
}
