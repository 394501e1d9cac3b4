import { LinkError } from "../../errors.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { type StagedModel, stageModel } from "../../local-store/stage.ts";
import { currentModel } from "../../store/read-model.ts";
import { openRef, type WeightRef } from "../../weights/open-ref.ts";
import { openLocalDraft } from "./local-draft.ts";
import type { NewWeightsOptions } from "./new-weights-options.ts";

/** New weights in the store. The store keeps them until this is disposed, or until a model uses them. */
export interface NewWeights extends AsyncDisposable {
  /** Reads the current manifest of their model. */
  model(): Promise<StoredModel>;
  /** Digests and sizes of the blobs that the store did not have before. */
  readonly fresh: StagedModel["fresh"];
}

/**
 * Opens weights in the store. Uses those of a stored model directly; streams all others into the store without a name.
 * @throws LinkError `missing-weight` for a reference without weights; SourceError, FormatError
 */
export async function openNewWeights(
  store: LocalStore,
  ref: WeightRef,
  options: NewWeightsOptions = {},
): Promise<NewWeights> {
  await using opened = await openRef(ref, { store, signal: options.signal });
  if (opened.kind === "model") {
    let { model } = opened;
    return {
      model: async () => (model = await currentModel(store, model)),
      fresh: new Map(),
      [Symbol.asyncDispose]: async () => undefined,
    };
  }
  await using local = await openLocalDraft(store, opened, options);
  const { draft } = local;
  if (draft.methods.every((method) => method.weights.length === 0)) {
    throw new LinkError("missing-weight", `Cannot take weights from "${opened.name}": it has none`, {
      path: opened.name,
      hint: draft.notes?.[0] ?? "Give a checkpoint: .safetensors, .npz, .pt, .gguf or .onnx",
    });
  }
  const staged = await stageModel(store, opened.name, draft, options);
  const { model, fresh } = staged;
  return { fresh, model: async () => model, [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose]() };
}
