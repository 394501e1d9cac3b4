import type { BoundParts, WeightBinding } from "./bound-parts.ts";
import { linkBound } from "./link-bound.ts";
import type { LinkedOnnx } from "./linked-program.ts";
import { writeBound, type WriteBoundOptions, type WrittenProgram } from "./write-bound.ts";
import type { LocalStore } from "../local-store/local-store.ts";

/**
 * An ONNX program that is bound to weights in a store, in a checkpoint, at a URL or in memory. Write it as a file with its
 * weights inside, beside it or by reference, or link it for an engine. Dispose it to close its sources; sessions that were
 * loaded from it stay valid.
 */
export class BoundProgram implements AsyncDisposable {
  readonly #parts: BoundParts;
  readonly #files: LocalStore;

  /** Use {@link bind} or {@link bindFile}. */
  constructor(parts: BoundParts, files: LocalStore) {
    this.#parts = parts;
    this.#files = files;
  }

  /** Each weight with its storage. */
  get bindings(): readonly WeightBinding[] {
    return this.#parts.bindings;
  }

  /**
   * Writes the program as one file. *embedded*: the weights are inside, for any ONNX runtime. *in-place*: the weights stay
   * in their files, which become external data; these files must be in or below the program's folder, and only tare reads
   * weights at URLs. *symbolic*: the file has `scope::key` and a digest for each weight, and only tare reads it.
   * @throws SourceError `exists`, `unsafe-path`; FormatError `too-large` for over 2 GiB; StoreError `corrupted` for
   * weights that do not match their digests
   */
  async write(path: string, options: WriteBoundOptions): Promise<WrittenProgram> {
    return writeBound(this.#parts, path, options);
  }

  /**
   * Links the program for an engine. The engine maps weights in local files directly; other weights are streamed into a
   * temporary file of the store. The lease of the linked program keeps that file, and the session takes over the lease.
   * @throws StoreError `corrupted` for weights that do not match their digests; LinkError, SourceError
   */
  async link(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<LinkedOnnx> {
    return linkBound(this.#parts, this.#files, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.close();
  }
}
