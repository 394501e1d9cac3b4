import type { FoldedFile } from "../model/folded-weight.ts";
import type { Binding } from "../model/link-plan.ts";
import type { PrepackedFile, PrepackedParts } from "../model/prepacked-weight.ts";
import type { Digest } from "../tensor/digest.ts";

/** Caches that an engine may use. The key of an entry identifies all its inputs, so that the entry can be made again. */
export interface EngineCaches {
  readonly compiled: CompileCache;
  readonly prepacked: PrepackedCache;
  readonly folded: FoldedCache;
}

/** Keeps compiled programs, by key. */
export interface CompileCache {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, bytes: Uint8Array): Promise<void>;
}

/** Keeps weights as an engine prepacked them, by key. */
export interface PrepackedCache {
  /**
   * Finds a file.
   * @param options `full`: hash the file even if it did not change since it was hashed
   * @returns `undefined` if there is none, or it is damaged
   */
  get(key: string, options?: { readonly full?: boolean }): Promise<PrepackedFile | undefined>;
  /**
   * Makes a file of a weight and its prepacked copies.
   * @param prepack is given an empty folder to write in
   * @returns `undefined` if the file cannot be kept
   */
  make(
    key: string,
    weight: Binding,
    prepack: (folder: string) => Promise<PrepackedParts>,
  ): Promise<PrepackedFile | undefined>;
}

/** Keeps constants that an engine folded from weights, by key. */
export interface FoldedCache {
  /**
   * Finds a file.
   * @param options `full`: hash the file even if it did not change since it was hashed
   * @returns `undefined` if there is none, or it is damaged
   */
  get(key: string, options?: { readonly full?: boolean }): Promise<FoldedFile | undefined>;
  /**
   * Makes a file of a folded constant.
   * @param operands digests of the weights that it is folded from
   * @param fold writes the file at the path that it is given, and returns the sha256 of its bytes in hexadecimal
   * @returns `undefined` if the file cannot be kept
   */
  make(
    key: string,
    operands: readonly Digest[],
    fold: (path: string) => Promise<string>,
  ): Promise<FoldedFile | undefined>;
}
