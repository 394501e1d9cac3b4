import type { MlirBytecode, MlirResourceGroup } from "./bytecode.ts";
import { type MlirPiece, piecesLength } from "./piece.ts";
import { HAS_ALIGNMENT, MAGIC, Section } from "./schema.ts";
import { encodePrefixVarint } from "./varint.ts";

/** What a resource holds in the file that is to be written. */
export type NewContent =
  | { readonly kind: "declared" }
  | { readonly kind: "value"; readonly bytes: Uint8Array }
  | { readonly kind: "blob"; readonly alignment: number; readonly data: MlirPiece };

/** A resource of the file that is to be written; its key is an index of its strings. */
export interface NewResource {
  readonly key: number;
  readonly kindByte: number;
  readonly content: NewContent;
}

/** A group of them. */
export interface NewGroup {
  readonly owner: number;
  readonly resources: readonly NewResource[];
}

/** What changes of a file; everything else of it stays. */
export interface BytecodeEdit {
  readonly strings: readonly Uint8Array[];
  readonly external: readonly NewGroup[];
  readonly dialects: readonly NewGroup[];
  /** Appended to the producer: it moves what follows. */
  readonly producerSuffix?: string;
}

/**
 * Lays a file of bytecode out anew with other resources, in the order of sections that it has: byte for byte what LLVM
 * writes for the same content, where LLVM wrote the file.
 */
export function layoutBytecode(file: MlirBytecode, edit: BytecodeEdit): MlirPiece[] {
  const producer = new TextEncoder().encode(`${file.producer}${edit.producerSuffix ?? ""}\0`);
  const pieces: MlirPiece[] = [
    { kind: "bytes", bytes: joinBytes([MAGIC, encodePrefixVarint(file.version), producer]) },
  ];
  let at = piecesLength(pieces);
  const groups = [...edit.external, ...edit.dialects];
  for (const { id, offset, length, alignment } of file.sections) {
    const data = ((): { readonly alignment: number; readonly pieces: readonly MlirPiece[] } => {
      if (id === Section.resource) return layoutResources(groups);
      if (id === Section.resourceOffset)
        return { alignment, pieces: [{ kind: "bytes", bytes: encodeTable(edit) }] };
      if (id === Section.string)
        return { alignment, pieces: [{ kind: "bytes", bytes: encodeStrings(edit.strings) }] };
      return { alignment, pieces: [{ kind: "range", offset, length }] };
    })();
    const placed = placeSection(id, at, data);
    pieces.push(...placed);
    at += piecesLength(placed);
  }
  return pieces;
}

/** A section as LLVM writes it: with an alignment only where it does not come to lie right by chance. */
function placeSection(
  id: number,
  at: number,
  data: { readonly alignment: number; readonly pieces: readonly MlirPiece[] },
): MlirPiece[] {
  const length = encodePrefixVarint(piecesLength(data.pieces));
  if ((at + 1 + length.byteLength) % data.alignment === 0) {
    return [{ kind: "bytes", bytes: joinBytes([Uint8Array.of(id), length]) }, ...data.pieces];
  }
  const header = joinBytes([Uint8Array.of(id | HAS_ALIGNMENT), length, encodePrefixVarint(data.alignment)]);
  return [
    { kind: "bytes", bytes: header },
    ...padding(at + header.byteLength, data.alignment),
    ...data.pieces,
  ];
}

function padding(at: number, alignment: number): MlirPiece[] {
  const length = Math.ceil(at / alignment) * alignment - at;
  return length > 0 ? [{ kind: "padding", length }] : [];
}

function layoutResources(groups: readonly NewGroup[]): { alignment: number; pieces: MlirPiece[] } {
  const pieces: MlirPiece[] = [];
  let at = 0;
  let largest = 1;
  for (const { content } of groups.flatMap((group) => group.resources)) {
    const added = layoutContent(content, at);
    if (content.kind === "blob") largest = Math.max(largest, content.alignment);
    pieces.push(...added);
    at += piecesLength(added);
  }
  return { alignment: largest, pieces };
}

/** @param at where in the section it starts */
function layoutContent(content: NewContent, at: number): MlirPiece[] {
  if (content.kind === "declared") return [];
  if (content.kind === "value") return [{ kind: "bytes", bytes: content.bytes }];
  const { alignment, data } = content;
  const header = joinBytes([encodePrefixVarint(alignment), encodePrefixVarint(piecesLength([data]))]);
  return [{ kind: "bytes", bytes: header }, ...padding(at + header.byteLength, alignment), data];
}

function encodeTable({ external, dialects }: BytecodeEdit): Uint8Array {
  const parts: Uint8Array[] = [encodePrefixVarint(external.length)];
  let at = 0;
  for (const { owner, resources } of [...external, ...dialects]) {
    parts.push(encodePrefixVarint(owner), encodePrefixVarint(resources.length));
    for (const { key, kindByte, content } of resources) {
      const size = piecesLength(layoutContent(content, at));
      parts.push(encodePrefixVarint(key), encodePrefixVarint(size), Uint8Array.of(kindByte));
      at += size;
    }
  }
  return joinBytes(parts);
}

function encodeStrings(strings: readonly Uint8Array[]): Uint8Array {
  const lengths = strings.map((each) => encodePrefixVarint(each.byteLength + 1)).reverse();
  const nul = new Uint8Array(1);
  return joinBytes([
    encodePrefixVarint(strings.length),
    ...lengths,
    ...strings.flatMap((each) => [each, nul]),
  ]);
}

/**
 * A group as it is, but for what is said of single resources.
 * @param renumber gives a string's new index
 */
export function keepGroup(
  group: MlirResourceGroup,
  renumber: (index: number) => number,
  contentOf: (name: string) => NewContent | undefined = () => undefined,
  owner: number = group.owner,
): NewGroup {
  const resources = group.resources.map(({ name, key, kindByte, content }): NewResource => {
    const kept = ((): NewContent => {
      if (content.kind === "declared") return content;
      if (content.kind === "bool") return { kind: "value", bytes: Uint8Array.of(content.value) };
      if (content.kind === "string")
        return { kind: "value", bytes: encodePrefixVarint(renumber(content.index)) };
      const { alignment, offset, length } = content;
      return { kind: "blob", alignment, data: { kind: "range", offset, length } };
    })();
    return { key: renumber(key), kindByte, content: contentOf(name) ?? kept };
  });
  return { owner, resources };
}

/** Bytes end to end. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}
