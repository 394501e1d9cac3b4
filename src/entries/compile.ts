/**
 * What compilers and their backends need: the seam of a backend, the blob service, and compiled folders.
 * @module
 */
export type {
  Backend,
  BackendBinding,
  BackendBlobs,
  BackendOptions,
  BackendProgram,
  BackendResult,
  BackendServices,
  BoundWeight,
  LoadableProgram,
  Partition,
  PartitionWeight,
  RunningPartition,
} from "../compile/backends/backend.ts";
export type { CompiledFile } from "../compile/backends/compiled-file.ts";
export type {
  CompiledBinding,
  CompiledData,
  CompiledMethod,
  CompiledModel,
  CompiledPartition,
  CompileRecord,
} from "../compile/backends/compiled-model.ts";
export { parsePartitionRule, type PartitionRule } from "../compile/backends/partition.ts";
export { type BlobConflict, BlobConflictError } from "../compile/blobs/blob-conflict.ts";
export {
  BlobService,
  type BlobServiceOptions,
  type PutOptions,
  type PutResult,
} from "../compile/blobs/blob-service.ts";
export type {
  BlobEntry,
  ShardBlob,
  ShardEntry,
  ShardFile,
  ShardOptions,
  ShardPlan,
} from "../compile/blobs/shard-plan.ts";
export { shardWeights } from "../compile/blobs/shard-weights.ts";
export type { CompiledStored, CompileOptions } from "../compile/compile-stored.ts";
export {
  type CompiledFolder,
  type CompiledLoadOptions,
  openCompiled,
  type OpenCompiledOptions,
} from "../compile/compiled-folder.ts";
export type { Field, Frame } from "../encodings/protobuf/fields.ts";
export type { EngineLoadOptions, Port, RunOptions, Session, Signature } from "../engines/engine.ts";
export type { OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
export type { PrepackingMode } from "../engines/onnxruntime/prepacking.ts";
export type { OptimizationLevel } from "../engines/onnxruntime/protocol.ts";
export { EngineError, type ErrorCode, type ErrorDetails, StoreError, TareError } from "../errors.ts";
export type {
  OnnxGraph,
  OnnxModel,
  OnnxNode,
  OnnxTensor,
  OnnxValue,
  TensorData,
} from "../formats/onnx/graph.ts";
export type { ByteSource, LocalFile, ReadOptions, RemoteFile } from "../io/byte-source.ts";
export type { BlobData } from "../io/chunks.ts";
export type { StreamOptions } from "../io/stream.ts";
export { type FolderSink, openFolderSink } from "../local-store/folder-sink.ts";
export type { Weight } from "../model/config.ts";
export type { Binding } from "../model/link-plan.ts";
export type { Descriptor } from "../model/manifest.ts";
export { WEIGHTLESS_BLOCKER } from "../compile/link-partition.ts";
export { createSha256 } from "../node/sha256.ts";
export { memoryBlobs, type MemoryBlobsOptions } from "../store/memory-blobs.ts";
export type { BlobRef, Blobs, BlobSink, BlobSource, HasOptions, Lease, StagedBlob } from "../store/store.ts";
export type { CreateDigest, Digest, DigestStream } from "../tensor/digest.ts";
export { type DType, tensorBytes } from "../tensor/dtype.ts";
export type { NumberTensor, StringTensor, Tensor, Tensors } from "../tensor/tensor.ts";
export type { TensorLayout } from "../tensor/tensor-layout.ts";
export type { UnreadTensor, WeightBytes, WeightLayout, WeightSource } from "../weights/weight-source.ts";
