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

export type { Engine, RunOptions, Session, TextSession } from "./engines/engine.ts";
export type { EngineEntry } from "./engines/engine-entry.ts";
export { ENGINES } from "./engines/registry.ts";
export type { LinkedProgram } from "./link/linked-program.ts";
export type { MutableModel } from "./runtime/mutable-model.ts";
export { openRuntime, type Runtime } from "./runtime/runtime.ts";
export type { TextPool } from "./runtime/text-pool.ts";

export { bind } from "./link/bind.ts";
export { bindFile } from "./link/bind-file.ts";
export type { BoundProgram } from "./link/bound-program.ts";
export { link } from "./link/link-folder.ts";
export { convertWeights } from "./operations/convert/convert.ts";
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
export { drawFamilyHtml } from "./picture/html.ts";
export { drawFamilySvg } from "./picture/svg.ts";

export type { Digest } from "./tensor/digest.ts";
export { tensorFromJson, tensorToJson } from "./tensor/json-tensor.ts";
export type { Tensor, Tensors } from "./tensor/tensor.ts";
export type { WeightRef } from "./weights/open-ref.ts";

export {
  EngineError,
  FormatError,
  LinkError,
  SourceError,
  StoreError,
  TareError,
  UsageError,
} from "./errors.ts";
