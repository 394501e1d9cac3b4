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
export type { ModelFacts } from "./engines/llama/protocol.ts";
export type { LlamaSession } from "./engines/llama/session.ts";
export type { OrtLoadOptions, OrtSessionInfo } from "./engines/onnxruntime/engine.ts";
export type { Prepacking } from "./engines/onnxruntime/prepacking.ts";
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
export type { Adapter, TextLoadOptions } from "./host/text.ts";
export type { LoraInfo } from "./host/lora-bases.ts";
export type { MergeLora, MergeOptions, MergeResult } from "./host/merge.ts";
export type { PooledText, SwapOptions, TextPool, TextPoolOptions, TextTurn } from "./host/text-pool.ts";
export type { MethodInfo, ModelInfo, WeightInfo } from "./host/describe.ts";
export {
  defaultStorePath,
  type LoadOptions,
  type ModelSummary,
  openStore,
  type OpenStoreOptions,
  type TareStore,
} from "./host/tare-store.ts";
export { joinSplit } from "./host/join.ts";
export type { SplitFileInfo, SplitOptions, SplitResult } from "./host/split.ts";
export type { Difference } from "./link/compare-numbers.ts";
export type { ChangedWeight, ModelDiff, WeightSet } from "./link/diff.ts";
export type { Shares } from "./link/sharing.ts";
export type { SplitFileKind } from "./link/split-record.ts";
export type { SplitPart, SplitRule } from "./link/split-rules.ts";
export type { Weight } from "./model/config.ts";
export type { Digest } from "./model/digest.ts";
export { type DType, tensorBytes } from "./model/dtype.ts";
export { type JsonTensor, tensorFromJson, tensorToJson } from "./model/json-tensor.ts";
export type { NumberTensor, StringTensor, Tensor, Tensors } from "./model/tensor.ts";
export type { ExportOptions, ExportResult } from "./node/export.ts";
export type { Progress } from "./node/progress.ts";
export type { AddOptions, AddResult } from "./node/store/add.ts";
export type { DeriveOptions, DeriveResult } from "./node/store/derive.ts";
export type { GcOptions, GcResult } from "./node/store/gc.ts";
export type { StoreStatus } from "./node/store/status.ts";
export type { Problem, VerifyOptions, VerifyResult } from "./node/store/verify.ts";
export type { ViewOptions, ViewResult } from "./node/view.ts";
export type { FamilyMap, MapModel, MapWeight } from "./picture/family-map.ts";
export { drawFamilyHtml } from "./picture/html.ts";
export { drawFamilySvg } from "./picture/svg.ts";
