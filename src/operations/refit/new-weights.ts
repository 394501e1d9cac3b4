import { LinkError } from "../../errors.ts";
import { formatById } from "../../formats/registry.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { type StagedModel, stageModel } from "../../local-store/stage.ts";
import { currentModel } from "../../store/read-model.ts";
import { openMethods } from "../../store/reread.ts";
import { unreadOf } from "../../weights/draft.ts";
import { openRef, type WeightRef } from "../../weights/open-ref.ts";
import type { OpenedRef } from "../../weights/opened-ref.ts";
import { openLocalDraft } from "./local-draft.ts";
import type { NewWeightsOptions } from "./new-weights-options.ts";

/** New weights in the store. The store keeps them until this is disposed, or until a model uses them. */
export interface NewWeights extends AsyncDisposable {
  /** Reads the current manifest of their model. */
  model(): Promise<StoredModel>;
  /** Digests and sizes of the blobs that the store did not have before. */
  readonly fresh: StagedModel["fresh"];
  /** Tensors that cannot be read, by name: why, to follow "is". */
  readonly unread: ReadonlyMap<string, string>;
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
  if (opened.kind !== "model") return await stageRef(store, opened, options);
  const kind = formatById(opened.model.config.format)?.looseTensors;
  if (kind === "any") {
    // Its files may have tensors in another form: they become weights by way of a copy.
    const { methods, files, ...open } = await openMethods(store, opened.model, { signal: options.signal });
    await using _ = { [Symbol.asyncDispose]: async () => open[Symbol.asyncDispose]() };
    if (methods.some(({ loose = [] }) => loose.length > 0)) {
      const draft = { format: opened.model.config.format, methods, files };
      return await stageRef(store, { kind: "url", name: opened.name, draft, ...open }, options);
    }
  }
  let { model } = opened;
  return {
    model: async () => (model = await currentModel(store, model)),
    fresh: new Map(),
    unread: new Map(),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function stageRef(
  store: LocalStore,
  opened: Exclude<OpenedRef, { readonly kind: "model" }>,
  options: NewWeightsOptions,
): Promise<NewWeights> {
  await using local = await openLocalDraft(store, opened, options);
  const { draft } = local;
  if (draft.methods.every((method) => method.weights.length === 0)) {
    throw new LinkError("missing-weight", `Cannot take weights from "${opened.name}": it has none`, {
      path: opened.name,
      hint: draft.notes?.[0] ?? "Give a checkpoint: .safetensors, .npz, .pt, .gguf or .onnx",
    });
  }
  const unread = new Map(
    draft.methods.flatMap((method) => unreadOf(method, false).map(({ name, form }) => [name, form] as const)),
  );
  const staged = await stageModel(store, opened.name, draft, options);
  const { model, fresh } = staged;
  return {
    fresh,
    unread,
    model: async () => model,
    [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose](),
  };
}
