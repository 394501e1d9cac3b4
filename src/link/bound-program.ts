import type { OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import type { OrtSessionInfo } from "../engines/onnxruntime/session.ts";
import type { BoundParts, WeightBinding } from "./bound-parts.ts";
import { type LoadProgram, loadBound } from "./load-bound.ts";
import { writeBound, type WriteBoundOptions, type WrittenProgram } from "./write-bound.ts";
import type { LocalStore } from "../local-store/local-store.ts";

/**
 * An ONNX program, joined strictly with weights that are wherever they are: in a store, in a checkpoint, on the web, in
 * memory. The same graph is written with its weights inside, beside it or by reference, and loaded. Dispose it to close what
 * it opened; a session that it loaded lives on.
 */
export class BoundProgram implements AsyncDisposable {
  readonly #parts: BoundParts;
  readonly #files: LocalStore;
  readonly #load: LoadProgram;

  /** Use {@link TareStore.bind}. */
  constructor(parts: BoundParts, files: LocalStore, load: LoadProgram) {
    this.#parts = parts;
    this.#files = files;
    this.#load = load;
  }

  /** The plan: each weight, and where it is. */
  get bindings(): readonly WeightBinding[] {
    return this.#parts.bindings;
  }

  /**
   * Writes the program as one file. *embedded*: with its weights inside, for any ONNX runtime; *in-place*: with its weights
   * as external data where they lie (for an ONNX runtime in or below the program's folder; a URL is for tare alone);
   * *symbolic*: `scope::key` and a digest for each, for tare alone, which gives it weights again.
   * @throws SourceError `exists`, `unsafe-path`; FormatError `too-large` for more than protobuf can hold; StoreError
   * `corrupted` for weights that are not what their digests say
   */
  async write(path: string, options: WriteBoundOptions): Promise<WrittenProgram> {
    return writeBound(this.#parts, path, options);
  }

  /**
   * Loads the program. Weights that lie in files of this machine are mapped there; others are fetched, piece by piece, into
   * a temporary file of the store, which goes with the session.
   * @throws EngineError, LinkError; StoreError `corrupted` for weights that are not what their digests say
   */
  async load(options: OrtLoadOptions = {}): Promise<OrtSessionInfo> {
    return loadBound(this.#parts, this.#files, this.#load, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.close();
  }
}
