import type { MlirBytecode, MlirResourceGroup } from "./bytecode.ts";
import { type MlirPiece, piecesLength } from "./piece.ts";
import { HAS_ALIGNMENT, MAGIC, Section } from "./schema.ts";
import { encodePrefixVarint } from "./varint.ts";

/** The content of a resource to write. */
export type NewContent =
  | { readonly kind: "declared" }
  | { readonly kind: "value"; readonly bytes: Uint8Array }
  | { readonly kind: "blob"; readonly alignment: number; readonly data: MlirPiece };

/** A resource to write. Its key is an index of the strings. */
export interface NewResource {
  readonly key: number;
  readonly kindByte: number;
  readonly content: NewContent;
}

/** A group of resources to write. */
export interface NewGroup {
  readonly owner: number;
  readonly resources: readonly NewResource[];
}

/** Changes to a file; everything else stays. */
export interface BytecodeEdit {
  readonly strings: readonly Uint8Array[];
  readonly external: readonly NewGroup[];
  readonly dialects: readonly NewGroup[];
  /** Appended to the producer, to move the bytes after it. */
  readonly producerSuffix?: string;
}

/**
 * Lays out a file of bytecode with other resources and its order of sections: byte for byte as LLVM for the same
 * content, if LLVM wrote the file.
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

/** Lays out a section as LLVM does, with an alignment only if the section is not aligned by chance. */
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

/** @param at its offset in the section */
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
 * Keeps a group, except for the content of given resources.
 * @param renumber gives the new index of a string
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

/** Concatenates bytes. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}
