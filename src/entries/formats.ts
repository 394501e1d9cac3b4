/**
 * The container formats: recognizing a file, reading where its weights are, and adding a format.
 *
 * @example
 * ```ts
 * import { FORMATS, createRegistry } from "tare/formats";
 *
 * const formats = createRegistry([...FORMATS.formats, mine]);
 * ```
 * @module
 */
export { type ErrorCode, type ErrorDetails, FormatError, TareError } from "../errors.ts";
export { createRegistry, type FormatRegistry } from "../formats/create-registry.ts";
export type { FileStart } from "../formats/file-start.ts";
export type { Format, ModelFile, ModelFolder } from "../formats/format.ts";
export type {
  Checksum,
  Checksums,
  FileLayout,
  FolderLayout,
  LayOut,
  LayoutPiece,
  WeightSpec,
} from "../formats/lay-out.ts";
export { FORMATS } from "../formats/registry.ts";
export type { ByteEncoding } from "../io/byte-encoding.ts";
export type { ByteSource, LocalFile, ReadOptions, RemoteFile } from "../io/byte-source.ts";
export type { HexCase } from "../io/hex.ts";
export type { HttpRequestOptions } from "../io/http-request.ts";
export type { HttpSourceOptions } from "../io/http-source.ts";
export type { VarintArray } from "../io/varint-array.ts";
export type {
  FileDraft,
  LooseTensor,
  MethodDraft,
  ModelDraft,
  TensorContent,
  WeightDraft,
  WeightRange,
} from "../model/draft.ts";
export type { Digest } from "../tensor/digest.ts";
export type { DType } from "../tensor/dtype.ts";
export type { TensorLayout } from "../tensor/tensor-layout.ts";
export { draftWeights, type ModelDataOptions } from "../weights/draft.ts";
export { openHttpModel } from "../weights/open-http-model.ts";
export type { UnreadTensor, WeightBytes, WeightLayout, WeightSource } from "../weights/weight-source.ts";
