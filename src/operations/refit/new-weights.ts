import { open } from "node:fs/promises";
import { join } from "node:path";
import { FormatError, LinkError } from "../../errors.ts";
import { encodeSafetensorsHeader } from "../../formats/safetensors/write.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import { openModel } from "../../node/open-model.ts";
import { type StagedModel, stageModel } from "../../local-store/stage.ts";
import type { Progress } from "../../io/progress.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { currentModel, readModel } from "../../store/read-model.ts";

/** Where new weights come from: a model of the store, files, or tensors in memory by name (a state dict). */
export type NewWeightsSource = string | Tensors;

/** New weights, in the store for as long as this lives. */
export interface NewWeights extends AsyncDisposable {
  /** The model as it lies now. */
  model(): Promise<StoredModel>;
  /** Blobs that the store did not have, with their sizes. */
  readonly fresh: StagedModel["fresh"];
}

/** Options of {@link openNewWeights}. */
export interface NewWeightsOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Brings weights into the store: those of a model that is there are taken as they lie, files are streamed in without
 * a name, and tensors in memory are written as a file first.
 * @param source a model's name, else a path
 * @throws SourceError, FormatError
 */
export async function openNewWeights(
  store: LocalStore,
  source: NewWeightsSource,
  options: NewWeightsOptions = {},
): Promise<NewWeights> {
  if (typeof source !== "string") return stageTensors(store, source, options);
  if ((await store.names.resolve(source)) === undefined) return stageFiles(store, source, options);
  let model: StoredModel | undefined;
  return {
    model: async () => (model = model ? await currentModel(store, model) : await readModel(store, source)),
    fresh: new Map(),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function stageFiles(store: LocalStore, path: string, options: NewWeightsOptions): Promise<NewWeights> {
  await using opened = await openModel([path], { signal: options.signal });
  if (opened.draft.methods.every((method) => method.weights.length === 0)) {
    const [note] = opened.draft.notes ?? [];
    throw new LinkError("missing-weight", `Cannot take weights from "${path}": it has none`, {
      path,
      hint: note ?? "name a checkpoint: .safetensors, .npz, .pt, .gguf or .onnx",
    });
  }
  const staged = await stageModel(store, path, opened.draft, options);
  return { ...staged, model: async () => staged.model };
}

async function stageTensors(
  store: LocalStore,
  tensors: Tensors,
  options: NewWeightsOptions,
): Promise<NewWeights> {
  await using lease = await store.blobs.lease();
  const path = join(lease.folder, "state-dict.safetensors");
  const specs = Object.entries(tensors).map(([name, tensor]) => ({ name, ...numbersOf(name, tensor) }));
  const header = encodeSafetensorsHeader(specs);
  const handle = await open(path, "wx");
  try {
    await handle.appendFile(header.bytes);
    for (const { spec, length } of header.tensors) {
      if (spec.bytes.byteLength !== length) {
        throw new FormatError(
          "size-mismatch",
          `Cannot use tensor "${spec.name}": [${spec.shape.join(", ")}] ${spec.dtype} takes ${length} bytes, it has ${spec.bytes.byteLength}`,
          { tensor: spec.name },
        );
      }
      await handle.appendFile(spec.bytes);
    }
  } finally {
    await handle.close();
  }
  return await stageFiles(store, path, options);
}

function numbersOf(name: string, tensor: Tensors[string]): NumberTensor {
  if (tensor && tensor.dtype !== "string") return tensor;
  throw new FormatError("unsupported", `Cannot use tensor "${name}": strings are no weights`, {
    tensor: name,
  });
}
