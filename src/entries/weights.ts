/**
 * Weights by name, wherever they are: what the run time of a compiler needs to read, stream, map and match them.
 *
 * @example
 * ```ts
 * import { openWeights, readWeight } from "tare/weights";
 *
 * await using weights = await openWeights("model.safetensors");
 * using held = await readWeight(weights, "lm_head.weight");
 * ```
 * @module
 */
export { type ErrorCode, type ErrorDetails, LinkError, SourceError, TareError } from "../errors.ts";
export {
  type ByteSource,
  type LocalFile,
  memorySource,
  type ReadOptions,
  type RemoteFile,
} from "../io/byte-source.ts";
export type { HttpRequestOptions } from "../io/http-request.ts";
export { type HttpSource, type HttpSourceOptions, openHttpSource } from "../io/http-source.ts";
export type { StreamOptions } from "../io/stream.ts";
export { type FileIdentity, type FileSource, openFileSource } from "../node/file-source.ts";
export { createSha256 } from "../node/sha256.ts";
export type { CreateDigest, Digest, DigestStream } from "../tensor/digest.ts";
export type { DType } from "../tensor/dtype.ts";
export type { NumberTensor, StringTensor, Tensor, Tensors } from "../tensor/tensor.ts";
export type { TensorLayout } from "../tensor/tensor-layout.ts";
export { type HashOptions, hashWeight } from "../weights/hash-weight.ts";
export { loadWeight } from "../weights/load-weight.ts";
export {
  type KnownWeight,
  type MappedWeight,
  mapWeights,
  type ReadWeight,
  readWeights,
  type StreamedWeight,
  streamWeights,
  type WeightSelection,
} from "../weights/load-weights.ts";
export { type FileRange, locateWeight } from "../weights/locate-weight.ts";
export {
  type ExpectedWeight,
  type MatchOptions,
  matchWeights,
  type WeightMatch,
  type WeightTable,
} from "../weights/match-weights.ts";
export { memoryWeights } from "../weights/memory.ts";
export { mergeWeightSources } from "../weights/merged.ts";
export { type NameMap, parseNameMap } from "../weights/name-map.ts";
export type { OpenRefOptions, WeightRef } from "../weights/open-ref.ts";
export { openWeight } from "../weights/open-weight.ts";
export { type OpenWeights, openWeights, type OpenWeightsOptions } from "../weights/open-weights.ts";
export { type FreeableData, readWeight } from "../weights/read-weight.ts";
export { remoteWeight, type UrlRange } from "../weights/remote-weight.ts";
export { type RequireOptions, requireWeights } from "../weights/require-weights.ts";
export { streamWeight } from "../weights/stream-weight.ts";
export {
  type DuplicateWeight,
  type MismatchedWeight,
  type WeightClaim,
  type WeightFindings,
  type WeightHints,
  WeightMismatchError,
} from "../weights/weight-mismatch-error.ts";
export type { UnreadTensor, WeightBytes, WeightLayout, WeightSource } from "../weights/weight-source.ts";
