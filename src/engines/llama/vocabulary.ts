import type { NativeTokenizerMetadata } from "./native.ts";

/**
 * Finds the first character of a text that a vocabulary has no token for, if there is one.
 * Only SentencePiece vocabularies without all 256 byte tokens have such text, and llama.cpp aborts the process on it.
 * Source: llama.cpp, src/llama-vocab.cpp, `llama_vocab::impl::byte_to_token`
 */
export type FindUntokenizable = (text: string) => string | undefined;

/** Makes the check for a model; `undefined` if every text has tokens. */
export function untokenizableFinder(
  tokenizer: NativeTokenizerMetadata | undefined,
): FindUntokenizable | undefined {
  const { model, tokens } = tokenizer?.ggml ?? {};
  if (model !== "llama" || !tokens) return undefined;
  const known = new Set(tokens);
  const hasToken = (byte: number): boolean =>
    known.has(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`) ||
    (byte < 0x80 && known.has(String.fromCharCode(byte)));
  const missing = new Set(Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !hasToken(byte)));
  if (missing.size === 0) return undefined;
  const encoder = new TextEncoder();
  return (text) => {
    for (const character of text) {
      const piece = character === " " ? "\u2581" : character;
      if (!known.has(piece) && encoder.encode(piece).some((byte) => missing.has(byte))) return character;
    }
    return undefined;
  };
}
