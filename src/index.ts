/**
 * tare: the weights of models, stored once, shared by every model that uses them, and run on stock engines.
 *
 * `openStore` gives data, `openRuntime` gives sessions, and each verb is a function that takes a store.
 *
 * @example
 * ```ts
 * import { openRuntime, openStore } from "tare";
 *
 * const store = await openStore({ path: "models" });
 * await store.add(["models/base"]);
 * await store.add(["models/fine-tune"]);
 * await using runtime = openRuntime(store);
 * await using session = await runtime.load("fine-tune", { method: "decoder" });
 * const outputs = await session.run({ input_ids: { dtype: "int64", shape: [1, 3], bytes } });
 * ```
 * @module
 */
export { defaultStorePath } from "./local-store/default-path.ts";
export { fsck } from "./local-store/fsck.ts";
export { openStore, type TareStore } from "./tare-store.ts";
export type { ModelSummary } from "./operations/summarize-models.ts";
export type { Progress } from "./io/progress.ts";

export type {
  ChatMessage,
  Engine,
  EngineCapabilities,
  EngineLoadOptions,
  GenerateOptions,
  Generation,
  Port,
  RunOptions,
  Session,
  Signature,
  StopReason,
  TextSession,
} from "./engines/engine.ts";
export type { EngineCaches } from "./engines/engine-caches.ts";
export type { AnyEngine, EngineContext, EngineEntry, SessionOf } from "./engines/engine-entry.ts";
export { requireFeeds } from "./engines/feeds.ts";
export { type LoadForecast, plainForecast } from "./engines/load-forecast.ts";
export { ENGINES } from "./engines/registry.ts";
export type {
  LinkedAdapter,
  LinkedGguf,
  LinkedOnnx,
  LinkedProgram,
  OnnxProgram,
} from "./link/linked-program.ts";
export type { MutableModel } from "./runtime/mutable-model.ts";
export { openRuntime, type Runtime } from "./runtime/runtime.ts";
export type { TextPool } from "./runtime/text-pool.ts";

export { bind } from "./link/bind.ts";
export { bindFile } from "./link/bind-file.ts";
export type { BoundProgram } from "./link/bound-program.ts";
export { link } from "./link/link-folder.ts";
export { parseNameMapping } from "./lora/mapping.ts";
export type { Binding } from "./model/link-plan.ts";
export { convertWeights } from "./operations/convert/convert.ts";
export { parseRenameRule, type RenameRule } from "./operations/convert/rename.ts";
export { describeModel } from "./operations/describe.ts";
export { diff } from "./operations/diff/diff.ts";
export { externalize } from "./operations/executorch/externalize.ts";
export { internalize } from "./operations/executorch/internalize.ts";
export { familyMap } from "./operations/family-map.ts";
export { merge } from "./operations/merge.ts";
export { attach, listResources } from "./operations/mlir/attach.ts";
export { detach, detachInPlace } from "./operations/mlir/detach.ts";
export { proposeRefit } from "./operations/refit/propose-refit.ts";
export { refit } from "./operations/refit/refit.ts";
export { joinSplit } from "./operations/split/join.ts";
export { split } from "./operations/split/split.ts";
export { parseSplitRule, parseSplitRules, type SplitRule } from "./operations/split/split-rules.ts";
export { inputFromJson } from "./operations/tensor-files/input-from-json.ts";
export { readTensors } from "./operations/tensor-files/read-tensors.ts";
export { writeTensors } from "./operations/tensor-files/write-tensors.ts";
export { drawFamilyHtml } from "./picture/html.ts";
export { drawFamilySvg } from "./picture/svg.ts";

export type { Store } from "./store/store.ts";
export type { Digest } from "./tensor/digest.ts";
export type { DType } from "./tensor/dtype.ts";
export { tensorFromJson, tensorsToJson, tensorToJson } from "./tensor/json-tensor.ts";
export type { NumberTensor, StringTensor, Tensor, Tensors } from "./tensor/tensor.ts";
export type { WeightRef } from "./weights/open-ref.ts";
export type { WeightBytes, WeightLayout, WeightSource } from "./weights/weight-source.ts";

export {
  EngineError,
  type ErrorCode,
  FormatError,
  LinkError,
  SourceError,
  StoreError,
  TareError,
  UsageError,
} from "./errors.ts";
