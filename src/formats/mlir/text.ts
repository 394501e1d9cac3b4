import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { fileErrors, type FileFail } from "../../errors.ts";
import { MAX_ALIGNMENT, MAX_ITEMS } from "./schema.ts";
import { decodeString, MAX_TOKEN_LENGTH, TextChunks } from "./text-chunks.ts";
import { type MetadataTokens, readMetadata, type TextSection } from "./text-metadata.ts";
import { externAlias, parseWeightGlobal, type WeightGlobal } from "./text-globals.ts";
import { parseTextType, type TextType } from "./text-types.ts";

/** A use of a resource in the program. */
export interface TextUse {
  readonly key: string;
  /** The type beside it; `undefined` for a missing type, or one without a size. */
  readonly type: TextType | undefined;
  /** Bytes from the start of the file. */
  readonly offset: number;
}

/** A file of MLIR as text; the bytes of its resources are not read. */
export interface MlirText {
  readonly source: ByteSource;
  /** Range of `{-# … #-}`; `undefined` if the file has none. */
  readonly metadata: { readonly start: number; readonly end: number } | undefined;
  readonly sections: readonly TextSection[];
  /** In the order of the text, one for each pair of key and type. */
  readonly uses: readonly TextUse[];
  /** Extern globals, in the order of the text. */
  readonly externs: readonly WeightGlobal[];
  /** Globals whose value is a resource without other uses. */
  readonly globals: readonly WeightGlobal[];
}

/** Relevant tokens of the program. Strings and comments may contain anything. */
const TOKEN =
  /"|\/\/|\{-#|dense_resource\s*<|ml_program\.global\s|#[\w$.]+\s*=\s*#ml_program\.extern(?![\w$.])/g;
const USE =
  /dense_resource\s*<\s*(?:"((?:[^"\\]|\\.)*)"|([A-Za-z_][\w$.]*))\s*>(?:\s*:\s*((?:tensor|vector)<[^"<>]*(?:<[^"<>]*>[^"<>]*)?>))?/y;

/**
 * Reads the resources of a text in one pass: their uses in the program, and the places of their bytes.
 * @throws FormatError naming file, resource and offset
 */
export async function readMlirText(source: ByteSource, options: ReadOptions = {}): Promise<MlirText> {
  const fail = fileErrors(source, { part: "resource" });
  const chunks = new TextChunks(source, options);
  const uses = new Map<string, TextUse>();
  const externs: WeightGlobal[] = [];
  const globals: WeightGlobal[] = [];
  const counts = new Map<string, number>();
  const aliases = new Set<string>();
  const said = (): Pick<MlirText, "uses" | "externs" | "globals"> => {
    const alone = globals.filter(({ resource = "" }) => counts.get(resource) === 1);
    return { uses: [...uses.values()], externs, globals: alone };
  };
  for (let at = 0; at < source.size; ) {
    TOKEN.lastIndex = await chunks.at(at);
    const found = TOKEN.exec(chunks.text);
    if (!found) {
      at = pastStretch(chunks);
      continue;
    }
    // A token near the end of the window may extend past it.
    const start = chunks.start + found.index;
    const index = await chunks.at(start);
    if (found[0] === '"') at = (await endOfString(chunks, start, fail)) + 1;
    else if (found[0] === "//") at = await endOfLine(chunks, start);
    else if (found[0] === "{-#") {
      const tokens: MetadataTokens = { chunks, at: start + 3, fail };
      const sections = await readMetadata(tokens);
      await refuseMore(chunks, tokens.at, fail);
      return { source, metadata: { start, end: tokens.at }, sections, ...said() };
    } else {
      const alias = externAlias(found[0]);
      if (alias !== undefined) aliases.add(alias);
      const global = parseWeightGlobal(chunks.text, index, chunks.start, aliases);
      if (global) (global.resource === undefined ? externs : globals).push(global);
      const use = readUse(chunks, index);
      if (use) {
        uses.set(`${use.key}\0${use.type?.text ?? ""}`, use);
        counts.set(use.key, (counts.get(use.key) ?? 0) + 1);
      }
      if (uses.size + externs.length + globals.length > MAX_ITEMS)
        throw fail("too-large", `it names over ${MAX_ITEMS} resources`, { offset: start });
      at = start + found[0].length;
    }
  }
  return { source, metadata: undefined, sections: [], ...said() };
}

/** The offset to continue at if the window has no more tokens: one may start in its last characters. */
function pastStretch(chunks: TextChunks): number {
  const end = chunks.start + chunks.text.length;
  return end >= chunks.size ? end : end - MAX_TOKEN_LENGTH / 2;
}

function readUse(chunks: TextChunks, index: number): TextUse | undefined {
  USE.lastIndex = index;
  const [, quoted, bare, type] = USE.exec(chunks.text) ?? [];
  const key = quoted === undefined ? bare : decodeString(quoted);
  if (key === undefined) return undefined;
  return {
    key,
    type: type === undefined ? undefined : parseTextType(type),
    offset: chunks.start + index,
  };
}

async function endOfString(chunks: TextChunks, start: number, fail: FileFail): Promise<number> {
  const end = await chunks.endOfString(start + 1);
  if (end === undefined)
    throw fail("malformed", `the string at byte ${start} does not end`, { offset: start });
  return end;
}

async function endOfLine(chunks: TextChunks, start: number): Promise<number> {
  for (let at = start; at < chunks.size; at = chunks.start + chunks.text.length) {
    const line = chunks.text.indexOf("\n", await chunks.at(at));
    if (line >= 0) return chunks.start + line;
  }
  return chunks.size;
}

/** Refuses anything but white space and comments: a second program would have its own resources. */
async function refuseMore(chunks: TextChunks, from: number, fail: FileFail): Promise<void> {
  for (let at = from; at < chunks.size; ) {
    const index = await chunks.at(at);
    const space = /\s*/y;
    space.lastIndex = index;
    const next = index + (space.exec(chunks.text)?.[0].length ?? 0);
    at = chunks.start + next;
    if (next >= chunks.text.length) continue;
    if (!chunks.text.startsWith("//", next)) {
      throw fail("unsupported", "it has a second program", {
        offset: at,
        hint: "Split the file at // -----",
      });
    }
    at = await endOfLine(chunks, at);
  }
}

/** A blob of a text. */
export interface TextBlob {
  readonly key: string;
  readonly alignment: number;
  /** Offset of the first digit of its bytes. */
  readonly offset: number;
  /** In bytes, of two digits each. */
  readonly length: number;
}

/** Characters of `0x` and the alignment, a little-endian number of four bytes. */
const HEX_HEADER = 2 + 8;

/**
 * The blobs that `dense_resource` names. Empty ones belong to the program.
 * @throws FormatError for digits that are not whole bytes, and for an invalid alignment
 */
export async function textBlobs(file: MlirText, options: ReadOptions = {}): Promise<TextBlob[]> {
  const fail = fileErrors(file.source, { part: "resource" });
  const blobs: TextBlob[] = [];
  for (const { key, value } of builtinEntries(file)) {
    if (value.kind !== "string") continue;
    const { start, end } = value;
    const length = end - start;
    const header = decodeAscii(await file.source.read(start, Math.min(HEX_HEADER, length), options));
    if (!header.startsWith("0x")) continue;
    const [, digits] = /^0x([0-9A-Fa-f]{8})$/.exec(header) ?? [];
    if (digits === undefined || length % 2 !== 0) {
      throw fail("malformed", "its digits are not an alignment and whole bytes", {
        offset: start,
        tensor: key,
      });
    }
    const bytes = [6, 4, 2, 0].map((nth) => digits.slice(nth, nth + 2));
    const alignment = Math.max(1, Number.parseInt(bytes.join(""), 16));
    if (!Number.isInteger(Math.log2(alignment)) || alignment > MAX_ALIGNMENT) {
      throw fail("malformed", `its alignment is ${alignment}`, { offset: start, tensor: key });
    }
    if (length > HEX_HEADER) {
      blobs.push({ key, alignment, offset: start + HEX_HEADER, length: (length - HEX_HEADER) / 2 });
    }
  }
  return blobs;
}

/** The entries of resources that `dense_resource` names. */
export function builtinEntries({
  sections,
}: Pick<MlirText, "sections">): TextSection["groups"][number]["entries"] {
  const dialects = sections.find((each) => each.name === "dialect_resources");
  return dialects?.groups.find((each) => each.name === "builtin")?.entries ?? [];
}

function decodeAscii(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
