import { fileErrors } from "../../errors.ts";
import { builtinResources, type MlirBytecode } from "./bytecode.ts";
import { isLinkGroup, type LinkManifest, parseLinkManifest, encodeLinkManifest } from "./link-manifest.ts";
import type { MlirPiece } from "./piece.ts";
import { BUILTIN, ResourceKind } from "./schema.ts";
import { encodePrefixVarint } from "./varint.ts";
import { keepGroup, layoutBytecode, type NewGroup } from "./write.ts";

/** A blob that can be detached. */
export interface DetachableBlob {
  readonly key: string;
  readonly alignment: number;
  readonly offset: number;
  readonly length: number;
}

/** The blobs of a file that `dense_resource` names. Empty ones belong to the program. */
export function detachableBlobs(file: MlirBytecode): DetachableBlob[] {
  return builtinResources(file).flatMap(({ name: key, content }) =>
    content.kind === "blob" && content.length > 0 ? [{ key, ...content }] : [],
  );
}

/** The manifest inside a file; `undefined` if there is none. */
export function bytecodeManifest(file: MlirBytecode): LinkManifest | undefined {
  return parseLinkManifest((name) => {
    const group = file.external.find((each) => each.name === name);
    return group?.resources.map((each): [string, string] => {
      if (each.content.kind !== "string") {
        throw fileErrors(file.source, { part: "resource" })("malformed", "it is no string", {
          tensor: each.name,
        });
      }
      return [each.name, new TextDecoder().decode(file.strings[each.content.index])];
    });
  }, file.source.name);
}

/**
 * Lays out a file without the blobs that its manifest names: they stay declared, and the manifest is inside. New
 * strings come last, so that the indices in other sections stay valid.
 */
export function thinBytecode(file: MlirBytecode, manifest: LinkManifest): MlirPiece[] {
  const strings = [...file.strings];
  const known = new Map(strings.map((bytes, index) => [latin1(bytes), index]));
  const indexOf = (text: string): number => {
    const bytes = new TextEncoder().encode(text);
    const found = known.get(latin1(bytes));
    if (found !== undefined) return found;
    known.set(latin1(bytes), strings.length);
    return strings.push(bytes) - 1;
  };
  const same = (index: number): number => index;
  const external = file.external
    .filter(({ name }) => !isLinkGroup(name))
    .map((group) => keepGroup(group, same));
  for (const [name, entries] of encodeLinkManifest(manifest)) {
    // In LLVM's order: the entries' values, the group's name, the entries' names.
    const values = entries.map(([, text]) => indexOf(text));
    const owner = indexOf(name);
    const resources = entries.map(([key], nth) => {
      const bytes = encodePrefixVarint(values[nth] as number);
      return { key: indexOf(key), kindByte: ResourceKind.string, content: { kind: "value", bytes } as const };
    });
    external.push({ owner, resources });
  }
  const dialects = file.dialects.map((group): NewGroup => {
    if (group.name !== BUILTIN) return keepGroup(group, same);
    return keepGroup(group, same, (name) => (manifest.weights.has(name) ? { kind: "declared" } : undefined));
  });
  return layoutBytecode(file, { strings, external, dialects });
}

/** Bytes as a map key: each is a character. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
