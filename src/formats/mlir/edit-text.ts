import { fileErrors } from "../../errors.ts";
import { isLinkGroup, type LinkManifest, parseLinkManifest, encodeLinkManifest } from "./link-manifest.ts";
import type { BlobLayout, MlirPiece } from "./piece.ts";
import { BUILTIN } from "./schema.ts";
import { builtinEntries, type MlirText } from "./text.ts";
import { decodeString, encodeString } from "./text-chunks.ts";
import type { TextGroup } from "./text-metadata.ts";

/** The manifest inside a text; `undefined` if there is none. */
export function textManifest(file: MlirText): LinkManifest | undefined {
  const external = file.sections.find((each) => each.name === "external_resources");
  return parseLinkManifest((name) => {
    const group = external?.groups.find((each) => each.name === name);
    return group?.entries.map(({ key, value }): [string, string] => {
      if (value.kind !== "string" || value.text === undefined) {
        throw fileErrors(file.source, { part: "resource" })("malformed", "it is no string", {
          tensor: key,
          offset: value.start,
        });
      }
      return [key, decodeString(value.text)];
    });
  }, file.source.name);
}

/** Resources that the program names and the text lacks, in the order of the program. */
export function missingKeys(file: MlirText): string[] {
  const there = new Set(builtinEntries(file).map((entry) => entry.key));
  return [...new Set(file.uses.map((use) => use.key))].filter((key) => !there.has(key));
}

/**
 * Lays out a text without the blobs that its manifest names, and with the manifest inside.
 * @param symbols resources to replace by externs, with the names of their globals, which become the weights' names
 */
export function thinText(
  file: MlirText,
  manifest: LinkManifest,
  symbols: ReadonlyMap<string, string> = new Map(),
): MlirPiece[] {
  const links = encodeLinkManifest(manifest).map(([name, entries]): PrintedGroup => {
    return [name, entries.map(([key, text]) => [key, [ascii(`"${encodeString(text)}"`)]] as const)];
  });
  return layoutText(
    file,
    groupsOf(file, "dialect_resources", (group, key) => {
      return group === BUILTIN && manifest.weights.has(symbols.get(key) ?? key);
    }),
    [...groupsOf(file, "external_resources", (group) => isLinkGroup(group)), ...links],
    file.globals
      .filter(({ resource = "" }) => symbols.has(resource))
      .map(({ typeText, start, end }) => ({ start, end, piece: ascii(`#ml_program.extern : ${typeText}`) })),
  );
}

/**
 * Lays out a text with weights inside, as LLVM prints them, and without its manifest. An extern global gets its weight
 * as its value.
 */
export function fillText(file: MlirText, weights: ReadonlyMap<string, BlobLayout>): MlirPiece[] {
  const globals = file.externs.filter(({ key }) => weights.has(key));
  const waiting = [...missingKeys(file), ...globals.map((each) => each.key)];
  const order = [...new Set(waiting)].filter((key) => weights.has(key));
  const added = order.map((key): PrintedEntry => {
    const { alignment, length } = weights.get(key) as BlobLayout;
    const bytes = [alignment & 255, (alignment >> 8) & 255, (alignment >> 16) & 255, alignment >>> 24];
    const digits = bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join("");
    return [key, [ascii(`"0x${digits}`), { kind: "weight", key, length, hex: true }, ascii('"')]];
  });
  const dialects = groupsOf(file, "dialect_resources", () => false);
  const builtin = dialects.find(([name]) => name === BUILTIN);
  if (added.length > 0 && !builtin) dialects.push([BUILTIN, added]);
  const merged = dialects.map(([name, entries]): PrintedGroup => {
    if (name !== BUILTIN || !builtin) return [name, entries];
    const uses = new Map([...new Set(file.uses.map((use) => use.key))].map((key, nth) => [key, nth]));
    const place = ([key]: PrintedEntry): number => uses.get(key) ?? uses.size;
    return [name, [...entries, ...added].sort((a, b) => place(a) - place(b))];
  });
  return layoutText(
    file,
    merged,
    groupsOf(file, "external_resources", (group) => isLinkGroup(group)),
    globals.map(({ key, typeText, start, end }) => {
      return { start, end, piece: ascii(`dense_resource<${keyword(key)}> : ${typeText}`) };
    }),
  );
}

/** A key and the pieces of its value. */
type PrintedEntry = readonly [key: string, value: readonly MlirPiece[]];
type PrintedGroup = readonly [name: string, entries: readonly PrintedEntry[]];

/** The groups of a section without dropped entries, and without groups that become empty. */
function groupsOf(
  file: MlirText,
  section: string,
  dropped: (group: string, key: string) => boolean,
): PrintedGroup[] {
  const groups = file.sections.find((each) => each.name === section)?.groups ?? [];
  return groups.flatMap(({ name, entries }: TextGroup): PrintedGroup[] => {
    const kept = entries.filter(({ key }) => !dropped(name, key));
    if (kept.length === 0) return [];
    return [
      [
        name,
        kept.map(({ key, value }): PrintedEntry => {
          const { start, end } = value;
          const quote = value.kind === "string" ? 1 : 0;
          return [key, [{ kind: "range", offset: start - quote, length: end - start + 2 * quote }]];
        }),
      ],
    ];
  });
}

function layoutText(
  { source, metadata }: MlirText,
  dialects: readonly PrintedGroup[],
  external: readonly PrintedGroup[],
  edits: readonly { readonly start: number; readonly end: number; readonly piece: MlirPiece }[] = [],
): MlirPiece[] {
  const start = metadata?.start ?? source.size;
  const end = metadata?.end ?? source.size;
  const sections = [
    ["dialect_resources", dialects] as const,
    ["external_resources", external] as const,
  ].filter(([, groups]) => groups.length > 0);
  const block = sections.length === 0 ? [] : printMetadata(sections);
  if (!metadata && block.length > 0) {
    block.unshift(ascii("\n"));
    block.push(ascii("\n"));
  }
  const pieces: MlirPiece[] = [];
  let at = 0;
  for (const edit of edits) {
    pieces.push({ kind: "range", offset: at, length: edit.start - at }, edit.piece);
    at = edit.end;
  }
  pieces.push({ kind: "range", offset: at, length: start - at }, ...block, {
    kind: "range",
    offset: end,
    length: source.size - end,
  });
  return pieces.filter((piece) => piece.kind !== "range" || piece.length > 0);
}

/** Prints `{-# … #-}` as LLVM does. */
function printMetadata(sections: readonly (readonly [string, readonly PrintedGroup[]])[]): MlirPiece[] {
  const pieces: MlirPiece[] = [ascii("{-#\n")];
  for (const [nth, [section, groups]] of sections.entries()) {
    pieces.push(ascii(`${nth > 0 ? ",\n" : ""}  ${section}: {\n`));
    for (const [place, [group, entries]] of groups.entries()) {
      pieces.push(ascii(`${place > 0 ? ",\n" : ""}    ${keyword(group)}: {\n`));
      for (const [index, [key, value]] of entries.entries()) {
        pieces.push(ascii(`${index > 0 ? ",\n" : ""}      ${keyword(key)}: `), ...value);
      }
      pieces.push(ascii("\n    }"));
    }
    pieces.push(ascii("\n  }"));
  }
  pieces.push(ascii("\n#-}"));
  return pieces;
}

/** Quotes a key unless it is a plain word. */
function keyword(key: string): string {
  return /^[A-Za-z_][\w$.]*$/.test(key) ? key : `"${encodeString(key)}"`;
}

function ascii(text: string): MlirPiece {
  return { kind: "bytes", bytes: new TextEncoder().encode(text) };
}
