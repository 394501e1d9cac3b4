import type { FileFail } from "../../errors.ts";
import { MAX_ITEMS } from "./schema.ts";
import { decodeString, MAX_TOKEN_LENGTH, type TextChunks } from "./text-chunks.ts";

/** The value of an entry with its range, without the quotes of a string. */
export type TextValue =
  | {
      readonly kind: "string";
      readonly start: number;
      readonly end: number;
      readonly text: string | undefined;
    }
  | { readonly kind: "word"; readonly start: number; readonly end: number; readonly text: string };

/** A resource of a text. */
export interface TextEntry {
  readonly key: string;
  readonly value: TextValue;
}

/** Resources of one owner. */
export interface TextGroup {
  readonly name: string;
  readonly entries: readonly TextEntry[];
}

/** `dialect_resources` or `external_resources`. */
export interface TextSection {
  readonly name: string;
  readonly groups: readonly TextGroup[];
}

/** The position of a metadata reader in a text. */
export interface MetadataTokens {
  readonly chunks: TextChunks;
  at: number;
  readonly fail: FileFail;
}

/** Longest string that is kept, in characters. Of longer ones, such as blobs, only the range is kept. */
const MAX_TEXT_LENGTH = 32 * 1024;
const SPACE = /(?:\s+|\/\/[^\n]*\n)*/y;
const WORD = /[A-Za-z_][\w$.]*|#-\}|[{}:,]/y;

type Token =
  | {
      readonly kind: "string";
      readonly start: number;
      readonly end: number;
      readonly text: string | undefined;
    }
  | { readonly kind: "word" | "mark"; readonly start: number; readonly end: number; readonly text: string };

/**
 * Reads the metadata after `{-#`, including `#-}`.
 * @throws FormatError `malformed`, `duplicate`
 */
export async function readMetadata(tokens: MetadataTokens): Promise<TextSection[]> {
  const sections = await readList(tokens, "#-}", async (name, at): Promise<TextSection> => {
    if (name !== "dialect_resources" && name !== "external_resources") {
      throw tokens.fail("unsupported", `its metadata has a section "${name.slice(0, 80)}"`, { offset: at });
    }
    await expect(tokens, "{");
    const groups = await readList(tokens, "}", async (group): Promise<TextGroup> => {
      await expect(tokens, "{");
      const entries = await readList(tokens, "}", async (key) => ({ key, value: await readValue(tokens) }));
      return { name: group, entries };
    });
    return { name, groups };
  });
  return sections;
}

/** Reads a list of `key: value` up to its end mark. */
async function readList<T>(
  tokens: MetadataTokens,
  end: string,
  readItem: (key: string, at: number) => Promise<T>,
): Promise<T[]> {
  const items: T[] = [];
  const keys = new Set<string>();
  for (;;) {
    const key = await next(tokens);
    if (key.kind === "mark" && key.text === end && items.length === 0) return items;
    if (key.kind === "mark" || key.text === undefined) throw unexpected(tokens, key);
    const name = key.kind === "string" ? decodeString(key.text) : key.text;
    if (keys.has(name))
      throw tokens.fail("duplicate", "it occurs twice there", { offset: key.start, tensor: name });
    if (keys.size >= MAX_ITEMS)
      throw tokens.fail("too-large", `it has over ${MAX_ITEMS} resources`, { offset: key.start });
    keys.add(name);
    await expect(tokens, ":");
    items.push(await readItem(name, key.start));
    const after = await next(tokens);
    if (after.kind === "mark" && after.text === end) return items;
    if (after.kind !== "mark" || after.text !== ",") throw unexpected(tokens, after);
  }
}

async function readValue(tokens: MetadataTokens): Promise<TextValue> {
  const { kind, start, end, text } = await next(tokens);
  if (kind === "string") return { kind, start, end, text };
  if (kind === "word" && (text === "true" || text === "false")) return { kind, start, end, text };
  throw unexpected(tokens, { kind, start, end, text });
}

async function expect(tokens: MetadataTokens, mark: string): Promise<void> {
  const token = await next(tokens);
  if (token.kind !== "mark" || token.text !== mark) throw unexpected(tokens, token);
}

async function next(tokens: MetadataTokens): Promise<Token> {
  const { chunks, fail } = tokens;
  let index = await chunks.at(tokens.at);
  for (;;) {
    SPACE.lastIndex = index;
    const length = SPACE.exec(chunks.text)?.[0].length ?? 0;
    tokens.at = chunks.start + index + length;
    index = await chunks.at(tokens.at);
    // White space may be longer than the window.
    if (length < MAX_TOKEN_LENGTH) break;
  }
  const start = tokens.at;
  if (chunks.text[index] === '"') {
    const end = await chunks.endOfString(start + 1);
    if (end === undefined)
      throw fail("malformed", "a string of its metadata does not end", { offset: start });
    tokens.at = end + 1;
    const text =
      end - start <= MAX_TEXT_LENGTH ? chunks.text.slice(index + 1, index + end - start) : undefined;
    return { kind: "string", start: start + 1, end, text };
  }
  WORD.lastIndex = index;
  const [text] = WORD.exec(chunks.text) ?? [];
  if (text === undefined) {
    const what = start < chunks.size ? "has an unexpected character" : "does not end";
    throw fail("malformed", `its metadata ${what}`, { offset: start });
  }
  tokens.at = start + text.length;
  return { kind: /^\w/.test(text) ? "word" : "mark", start, end: tokens.at, text };
}

function unexpected({ fail }: MetadataTokens, { start, text = "…" }: Token): Error {
  return fail("malformed", `its metadata has an unexpected "${text.slice(0, 40)}"`, { offset: start });
}
