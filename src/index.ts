/**
 * tare: the weights of models, stored once, shared by every model that uses them, and run on stock engines.
 *
 * @example
 * ```ts
 * import { openStore } from "tare";
 *
 * await using store = await openStore({ path: "models" });
 * await store.add(["models/base"]);
 * await store.add(["models/fine-tune"]);
 * await using session = await store.load("fine-tune", { method: "decoder" });
 * const outputs = await session.run({ input_ids: { dtype: "int64", shape: [1, 3], bytes } });
 * ```
 * @module
 */
export {
  type ByteSource,
  type LocalFile,
  memorySource,
  type ReadOptions,
  type RemoteFile,
} from "./io/byte-source.ts";
export { type HttpSourceOptions, openHttpSource } from "./io/http-source.ts";
export { type BlobConflict, BlobConflictError } from "./compile/blobs/blob-conflict.ts";
export {
  BlobService,
  type BlobServiceOptions,
  type PutOptions,
  type PutResult,
} from "./compile/blobs/blob-service.ts";
export type { StreamOptions } from "./io/stream.ts";
export type { BlobData } from "./io/chunks.ts";
export { draftWeights, type ModelDataOptions } from "./weights/draft.ts";
export { type HashOptions, hashWeight } from "./weights/hash-weight.ts";
export {
  type MappedWeight,
  mapWeights,
  type ReadWeight,
  readWeights,
  type StreamedWeight,
  streamWeights,
} from "./weights/load-weights.ts";
export { memoryWeights } from "./weights/memory.ts";
export { mergeWeightSources } from "./weights/merged.ts";
export { loadWeight } from "./weights/load-weight.ts";
export { type FileRange, locateWeight } from "./weights/locate-weight.ts";
export {
  type ExpectedWeight,
  type MatchOptions,
  matchWeights,
  type WeightMatch,
  type WeightTable,
} from "./weights/match-weights.ts";
export type { WeightRef } from "./weights/open-ref.ts";
export { type OpenWeights, openWeights, type OpenWeightsOptions } from "./weights/open-weights.ts";
export { type FreeableData, readWeight } from "./weights/read-weight.ts";
export { remoteWeight, type UrlRange } from "./weights/remote-weight.ts";
export { streamWeight } from "./weights/stream-weight.ts";
export type { WeightBytes, WeightLayout, WeightSource } from "./weights/weight-source.ts";
export {
  type DuplicateWeight,
  type MismatchedWeight,
  type WeightHints,
  WeightMismatchError,
  type WeightClaim,
} from "./weights/weight-mismatch-error.ts";
export { openHttpModel } from "./weights/open-http-model.ts";
export { requireWeights, type RequireOptions } from "./weights/require-weights.ts";
export { shardWeights } from "./compile/blobs/shard-weights.ts";
export type {
  BlobEntry,
  ShardBlob,
  ShardEntry,
  ShardFile,
  ShardOptions,
  ShardPlan,
} from "./compile/blobs/shard-plan.ts";
export type { TensorLayout } from "./tensor/tensor-layout.ts";
export type {
  ChatMessage,
  GenerateOptions,
  Generation,
  Port,
  RunOptions,
  Session,
  Signature,
  StopReason,
  TextSession,
} from "./engines/engine.ts";
export type { LlamaLoadOptions } from "./engines/llama/engine.ts";
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
} from "./compile/backends/backend.ts";
export type {
  CompiledBinding,
  CompiledData,
  CompiledMethod,
  CompiledModel,
  CompiledPartition,
  CompileRecord,
} from "./compile/backends/compiled-model.ts";
export { parsePartitionRule, type PartitionRule } from "./compile/backends/partition.ts";
export type { ModelFacts } from "./engines/llama/protocol.ts";
export type { LlamaSession } from "./engines/llama/session.ts";
export type { OrtLoadOptions } from "./engines/onnxruntime/engine.ts";
export type { PrepackingMode } from "./engines/onnxruntime/prepacking.ts";
export type { OrtSessionInfo } from "./engines/onnxruntime/session.ts";
export {
  EngineError,
  type ErrorCode,
  type ErrorDetails,
  FormatError,
  LinkError,
  SourceError,
  StoreError,
  TareError,
  UsageError,
} from "./errors.ts";
export type { Adapter } from "./link/link-gguf.ts";
export type { TextLoadOptions } from "./runtime/load-text.ts";
export {
  type CompiledFolder,
  type CompiledLoadOptions,
  openCompiled,
  type OpenCompiledOptions,
} from "./compile/compiled-folder.ts";
export type { CompiledStored, CompileOptions } from "./compile/compile-stored.ts";
export type { LoraInfo } from "./lora/lora-bases.ts";
export type { MergeLora, MergeOptions, MergeResult } from "./operations/merge.ts";
export type { PooledText, SwapOptions, TextPool, TextPoolOptions, TextTurn } from "./runtime/text-pool.ts";
export type { AttachOptions, AttachResult, ResourceInfo } from "./operations/mlir/attach.ts";
export {
  detachInPlace,
  type DetachInPlaceOptions,
  type DetachOptions,
  type DetachResult,
} from "./operations/mlir/detach.ts";
export type { MethodInfo, ModelInfo, WeightInfo } from "./operations/describe.ts";
export type { DelegateInfo, ExecutorchInfo } from "./operations/executorch/executorch-info.ts";
export { defaultStorePath } from "./local-store/default-path.ts";
export {
  type LoadOptions,
  type ModelSummary,
  openStore,
  type OpenStoreOptions,
  type TareStore,
} from "./tare-store.ts";
export {
  externalize,
  type ExternalizeOptions,
  type ExternalizeResult,
  type ExternalRule,
} from "./operations/executorch/externalize.ts";
export {
  internalize,
  type InternalizeOptions,
  type InternalizeResult,
  type InternalRule,
} from "./operations/executorch/internalize.ts";
export { type ConvertOptions, type ConvertResult, convertWeights } from "./operations/convert/convert.ts";
export type { RenameRule } from "./operations/convert/rename.ts";
export type { BindOptions } from "./link/bind.ts";
export type { BindFileOptions } from "./link/bind-file.ts";
export type { Storage, WeightBinding } from "./link/bound-parts.ts";
export type { BoundProgram } from "./link/bound-program.ts";
export type { WeightStorage, WriteBoundOptions, WrittenProgram } from "./link/write-bound.ts";
export { joinSplit } from "./operations/split/join.ts";
export type { MutableModel, MutableOptions, WeightChange } from "./runtime/mutable-model.ts";
export type { NewWeightsOptions } from "./operations/refit/new-weights.ts";
export type { RefitOptions, RefitResult } from "./operations/refit/refit.ts";
export type { RefitCheck } from "./operations/refit/verify-refit.ts";
export type { Proposal } from "./operations/refit/propose.ts";
export type { SplitFileInfo, SplitOptions, SplitResult } from "./operations/split/split.ts";
export type { Difference } from "./operations/diff/compare-numbers.ts";
export type { ChangedWeight, ModelDiff, WeightSet } from "./operations/diff/diff.ts";
export type { Shares } from "./model/sharing.ts";
export type { SplitFileKind } from "./operations/split/split-record.ts";
export type { SplitPart, SplitRule } from "./operations/split/split-rules.ts";
export type { Weight } from "./model/config.ts";
export type { CreateDigest, Digest, DigestStream } from "./tensor/digest.ts";
export type { FileDraft, MethodDraft, ModelDraft, WeightDraft, WeightRange } from "./model/draft.ts";
export { type DType, tensorBytes } from "./tensor/dtype.ts";
export { type JsonTensor, tensorFromJson, tensorToJson } from "./tensor/json-tensor.ts";
export type { NumberTensor, StringTensor, Tensor, Tensors } from "./tensor/tensor.ts";
export type { ExportOptions, ExportResult } from "./local-store/export.ts";
export { type FileSource, openFileSource } from "./node/file-source.ts";
export { type FolderSink, openFolderSink } from "./local-store/folder-sink.ts";
export type { Progress } from "./io/progress.ts";
export { createSha256 } from "./node/sha256.ts";
export type { AddOptions, AddResult } from "./local-store/add.ts";
export type { MoveOptions } from "./local-store/add-moving.ts";
export type { PatchOptions, PatchResult } from "./store/patch-model.ts";
export type { GcOptions, GcResult } from "./local-store/gc.ts";
export type { StoreStatus } from "./local-store/status.ts";
export type { Problem, VerifyOptions, VerifyResult } from "./local-store/verify.ts";
export type { ViewOptions, ViewResult } from "./link/view.ts";
export type { FamilyMap, MapModel, MapWeight } from "./picture/family-map.ts";
export { drawFamilyHtml } from "./picture/html.ts";
export { drawFamilySvg } from "./picture/svg.ts";
export type { BlobSink, BlobSource, StagedBlob } from "./store/store.ts";
export { memoryBlobs } from "./store/memory-blobs.ts";
