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
export { type ByteSource, type LocalFile, memorySource, type ReadOptions } from "./bytes/byte-source.ts";
export { type HttpSourceOptions, openHttpSource } from "./bytes/http-source.ts";
export { type BlobConflict, BlobConflictError } from "./compile/blobs/blob-conflict.ts";
export {
  BlobService,
  type BlobServiceOptions,
  type PutOptions,
  type PutResult,
} from "./compile/blobs/blob-service.ts";
export type { StreamOptions } from "./bytes/stream.ts";
export type { BlobData } from "./compile/chunks.ts";
export { draftNamedData, type ModelDataOptions } from "./compile/named-data/draft-named-data.ts";
export { type HashOptions, hashWeight } from "./compile/named-data/hash-weight.ts";
export {
  type MappedWeight,
  mapWeights,
  type ReadWeight,
  readWeights,
  type StreamedWeight,
  streamWeights,
} from "./compile/named-data/load-weights.ts";
export { memoryNamedData } from "./compile/named-data/memory-named-data.ts";
export { mergeNamedData } from "./compile/named-data/merge-named-data.ts";
export type {
  FileRange,
  FreeableData,
  NamedData,
  NamedLayout,
  UrlRange,
} from "./compile/named-data/named-data.ts";
export {
  type MismatchedWeight,
  NamedDataError,
  type WeightClaim,
} from "./compile/named-data/named-data-error.ts";
export { openHttpModel } from "./compile/named-data/open-http-model.ts";
export {
  type ExpectedWeight,
  requireNamedData,
  type RequireOptions,
} from "./compile/named-data/require-named-data.ts";
export { shardNamedData } from "./compile/named-data/shard-named-data.ts";
export type {
  BlobEntry,
  ShardBlob,
  ShardEntry,
  ShardFile,
  ShardOptions,
  ShardPlan,
} from "./compile/blobs/shard-plan.ts";
export type { TensorLayout } from "./compile/tensor-layout.ts";
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
export type { Prepacking } from "./engines/onnxruntime/prepacking.ts";
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
export type { Adapter, TextLoadOptions } from "./host/text/text.ts";
export {
  type CompiledFolder,
  type CompiledLoadOptions,
  openCompiled,
  type OpenCompiledOptions,
} from "./host/compile/compiled-folder.ts";
export type { CompiledStored, CompileOptions } from "./host/compile/compile-model.ts";
export type { LoraInfo } from "./host/lora/lora-bases.ts";
export type { MergeLora, MergeOptions, MergeResult } from "./host/lora/merge.ts";
export type { PooledText, SwapOptions, TextPool, TextPoolOptions, TextTurn } from "./host/text/text-pool.ts";
export type { AttachOptions, AttachResult, ResourceInfo } from "./host/mlir/attach.ts";
export {
  detachInPlace,
  type DetachInPlaceOptions,
  type DetachOptions,
  type DetachResult,
} from "./host/mlir/detach.ts";
export type { MethodInfo, ModelInfo, WeightInfo } from "./host/describe.ts";
export type { DelegateInfo, ExecutorchInfo } from "./host/executorch/executorch-info.ts";
export { defaultStorePath } from "./node/store/default-path.ts";
export {
  type LoadOptions,
  type ModelSummary,
  openStore,
  type OpenStoreOptions,
  type TareStore,
} from "./host/tare-store.ts";
export { openModelData, type OpenModelData } from "./host/model-data.ts";
export {
  externalize,
  type ExternalizeOptions,
  type ExternalizeResult,
  type ExternalRule,
} from "./host/executorch/externalize.ts";
export {
  internalize,
  type InternalizeOptions,
  type InternalizeResult,
  type InternalRule,
} from "./host/executorch/internalize.ts";
export { type ConvertOptions, type ConvertResult, convertWeights } from "./host/convert/convert.ts";
export type { RenameRule } from "./host/convert/rename.ts";
export type { BindOptions } from "./host/link/bind.ts";
export type { BindFileOptions } from "./host/link/bind-file.ts";
export type { Storage, WeightBinding } from "./host/link/bound-parts.ts";
export type { BoundProgram } from "./host/link/bound-program.ts";
export type { WeightsSource } from "./host/link/weights-source.ts";
export type { WeightStorage, WriteBoundOptions, WrittenProgram } from "./host/link/write-bound.ts";
export { joinSplit } from "./host/split/join.ts";
export type { MutableModel, MutableOptions, WeightChange } from "./host/mutable/mutable-model.ts";
export type { NewWeightsOptions, NewWeightsSource } from "./host/refit/new-weights.ts";
export type { RefitOptions, RefitResult } from "./host/refit/refit.ts";
export type { RefitCheck } from "./host/refit/verify-refit.ts";
export type { Proposal } from "./compile/refit/refit-propose.ts";
export type { SplitFileInfo, SplitOptions, SplitResult } from "./host/split/split.ts";
export type { Difference } from "./link/compare-numbers.ts";
export type { ChangedWeight, ModelDiff, WeightSet } from "./link/diff.ts";
export type { Shares } from "./link/sharing.ts";
export type { SplitFileKind } from "./link/split/split-record.ts";
export type { SplitPart, SplitRule } from "./link/split/split-rules.ts";
export type { Weight } from "./model/config.ts";
export type { CreateDigest, Digest, DigestStream } from "./model/digest.ts";
export type { FileDraft, MethodDraft, ModelDraft, WeightDraft, WeightRange } from "./model/draft.ts";
export { type DType, tensorBytes } from "./model/dtype.ts";
export { type JsonTensor, tensorFromJson, tensorToJson } from "./model/json-tensor.ts";
export type { NumberTensor, StringTensor, Tensor, Tensors } from "./model/tensor.ts";
export type { ExportOptions, ExportResult } from "./node/export.ts";
export { type FileSource, openFileSource } from "./node/file-source.ts";
export { type FolderSink, openFolderSink } from "./node/folder-sink.ts";
export type { Progress } from "./node/progress.ts";
export { createSha256 } from "./node/sha256.ts";
export type { AddOptions, AddResult } from "./node/store/add.ts";
export type { ConsumeOptions } from "./node/store/add-consuming.ts";
export type { DeriveOptions, DeriveResult } from "./node/store/derive.ts";
export type { GcOptions, GcResult } from "./node/store/gc.ts";
export type { StoreStatus } from "./node/store/status.ts";
export type { Problem, VerifyOptions, VerifyResult } from "./node/store/verify.ts";
export type { ViewOptions, ViewResult } from "./node/view.ts";
export type { FamilyMap, MapModel, MapWeight } from "./picture/family-map.ts";
export { drawFamilyHtml } from "./picture/html.ts";
export { drawFamilySvg } from "./picture/svg.ts";
export type { BlobSink, StagedBlob } from "./store/blob-sink.ts";
export type { BlobSource } from "./store/blob-store.ts";
export { memorySink } from "./store/memory-sink.ts";
