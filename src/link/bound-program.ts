import type { BoundParts, WeightBinding } from "./bound-parts.ts";
import { linkBound } from "./link-bound.ts";
import type { LinkedOnnx } from "./linked-program.ts";
import { writeBound, type WriteBoundOptions, type WrittenProgram } from "./write-bound.ts";
import type { LocalStore } from "../local-store/local-store.ts";

/**
 * An ONNX program, joined strictly with weights that are wherever they are: in a store, in a checkpoint, on the web, in
 * memory. The same graph is written with its weights inside, beside it or by reference, and linked for an engine. Dispose
 * it to close what it opened; sessions that were loaded from it live on.
 */
export class BoundProgram implements AsyncDisposable {
  readonly #parts: BoundParts;
  readonly #files: LocalStore;

  /** Use {@link bind} or {@link bindFile}. */
  constructor(parts: BoundParts, files: LocalStore) {
    this.#parts = parts;
    this.#files = files;
  }

  /** The plan: each weight, and where it is. */
  get bindings(): readonly WeightBinding[] {
    return this.#parts.bindings;
  }

  /**
   * Writes the program as one file. *embedded*: with its weights inside, for any ONNX runtime; *in-place*: with its weights
   * as external data where they are (for an ONNX runtime in or below the program's folder; a URL is for tare alone);
   * *symbolic*: `scope::key` and a digest for each, for tare alone, which gives it weights again.
   * @throws SourceError `exists`, `unsafe-path`; FormatError `too-large` for more than protobuf can hold; StoreError
   * `corrupted` for weights that are not what their digests say
   */
  async write(path: string, options: WriteBoundOptions): Promise<WrittenProgram> {
    return writeBound(this.#parts, path, options);
  }

  /**
   * Links the program for an engine. Weights in files of this machine are mapped there; others are fetched, piece by
   * piece, into a temporary file of the store, which the program's lease keeps: a session that loads it takes it over.
   * @throws StoreError `corrupted` for weights that do not have their digests; LinkError, SourceError
   */
  async link(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<LinkedOnnx> {
    return linkBound(this.#parts, this.#files, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.close();
  }
}
