/**
 * The part of tare that needs nothing of Node: weights over HTTP and in memory, formats, the blob service, pictures.
 * @module
 */
export { BlobService } from "../compile/blobs/blob-service.ts";
export { createRegistry } from "../formats/create-registry.ts";
export { FORMATS } from "../formats/registry.ts";
export { type ByteSource, memorySource, type ReadOptions } from "../io/byte-source.ts";
export type { HttpRequestOptions } from "../io/http-request.ts";
export { type HttpSource, type HttpSourceOptions, openHttpSource } from "../io/http-source.ts";
export type { FamilyMap } from "../picture/family-map.ts";
export { drawFamilyHtml } from "../picture/html.ts";
export { drawFamilySvg } from "../picture/svg.ts";
export { memoryBlobs } from "../store/memory-blobs.ts";
export { memoryStore } from "../store/memory-store.ts";
export type { Blobs, Lease, Names, StagedBlob, Store, Tag } from "../store/store.ts";
export { listModels, readModel } from "../store/read-model.ts";
export type { CreateDigest, Digest, DigestStream } from "../tensor/digest.ts";
export { tensorFromJson, tensorToJson } from "../tensor/json-tensor.ts";
export type { Tensor, Tensors } from "../tensor/tensor.ts";
export { draftWeights } from "../weights/draft.ts";
export { hashWeight } from "../weights/hash-weight.ts";
export { loadWeight } from "../weights/load-weight.ts";
export { readWeights, streamWeights } from "../weights/load-weights.ts";
export { matchWeights } from "../weights/match-weights.ts";
export { memoryWeights } from "../weights/memory.ts";
export { mergeWeightSources } from "../weights/merged.ts";
export { openHttpModel } from "../weights/open-http-model.ts";
export { openWeight } from "../weights/open-weight.ts";
export { readWeight } from "../weights/read-weight.ts";
export { streamWeight } from "../weights/stream-weight.ts";
export { WeightMismatchError } from "../weights/weight-mismatch-error.ts";
export type { UnreadTensor, WeightBytes, WeightLayout, WeightSource } from "../weights/weight-source.ts";
export {
  EngineError,
  FormatError,
  LinkError,
  SourceError,
  StoreError,
  TareError,
  UsageError,
} from "../errors.ts";
