import type { ByteSource, ReadOptions } from "../../io/byte-source.ts";
import { fetchSkeleton } from "../../encodings/protobuf/fetch-skeleton.ts";
import { fileErrors, FormatError, operationError } from "../../errors.ts";
import type { FileDraft, MethodDraft, ModelDraft, WeightDraft } from "../../model/draft.ts";
import type { ModelFile, ModelFolder } from "../format.ts";
import { weightsOf } from "./classify.ts";
import type { OnnxTensor } from "./graph.ts";
import { looseInitializers } from "./loose-initializers.ts";
import { parseOnnx } from "./parse.ts";
import { MODEL_SHAPE } from "./schema.ts";
import { parseSymbol } from "./symbol.ts";
import { varintSpelling } from "./varint-spelling.ts";

/** What to do about external data that names weights, and about a missing data file. */
const ELSEWHERE =
  "It names weights of another model: tare link FILE --scope NAME=WEIGHTS (or --remote) --embed --out OTHER.onnx";
const BESIDE = "Put the data file beside the model, where the model was saved with it";

/**
 * Reads the graphs of a model, one method each, and finds every weight in them and in their external data.
 * The cost depends on the graphs, not on the size of the weights.
 * @throws FormatError with file, tensor and offset; `not-found` names missing external data
 */
export async function readOnnx(
  files: readonly ModelFile[],
  folder: ModelFolder,
  options: ReadOptions = {},
): Promise<ModelDraft> {
  const all: FileDraft[] = [...files];
  const externals = new Map<string, number>();

  const externalFile = async (written: string, tensor: OnnxTensor, path: string): Promise<number> => {
    const location = written.replace(/^(\.\/+)+/, "");
    const known = externals.get(location);
    if (known !== undefined) return known;
    if (files.some((file) => file.path === location)) {
      const reason = "it is in a model file, outside of that model's tensors";
      throw fileErrors({ name: path })("unsupported", reason, { tensor: tensor.name });
    }
    if (parseSymbol(location) || /^https?:/i.test(location)) {
      throw notFound(location, tensor, path, ELSEWHERE);
    }
    const source = await folder.open(location, options);
    if (!source) {
      throw notFound(location, tensor, path, BESIDE);
    }
    externals.set(location, all.length);
    return all.push({ path: location, source }) - 1;
  };

  const methods: MethodDraft[] = [];
  for (const [file, { path, source }] of files.entries()) {
    const view = await fetchSkeleton(source, MODEL_SHAPE, options);
    const model = parseOnnx(view);
    const weights: WeightDraft[] = [];
    const constants: WeightDraft[] = [];
    const names = new Set<string>();
    const weightTensors = new Set(weightsOf(model));
    for (const tensor of model.tensors) {
      const { name, dtype, shape, data } = tensor;
      if (dtype === "string" || data.kind === "other") continue;
      const isWeight = weightTensors.has(tensor);
      if (!isWeight && data.kind !== "external") continue;
      if (names.has(name)) {
        const { start: offset } = tensor.frame;
        throw fileErrors({ name: path })("duplicate", "two weights have that name", { tensor: name, offset });
      }
      names.add(name);
      if (data.kind === "external") {
        const at = await externalFile(data.location, tensor, path);
        checkInside(all[at]?.source as ByteSource, tensor, data.offset, data.length);
        (isWeight ? weights : constants).push({
          name,
          dtype,
          shape,
          at: { file: at, offset: data.offset, length: data.length },
        });
      } else {
        const at = { file, offset: data.offset, length: data.length };
        weights.push({
          name,
          dtype,
          shape,
          at:
            data.kind === "plain"
              ? at
              : { ...at, varint: await varintSpelling(source, data, dtype, options) },
        });
      }
    }
    const loose = await looseInitializers(source, view, model, names, options);
    const name = path.replace(/\.onnx$/, "");
    methods.push({ name, file, weights, constants, ...(loose.length > 0 && { loose }) });
  }
  return { format: "onnx", methods, files: all };
}

function notFound(location: string, tensor: OnnxTensor, path: string, hint: string): FormatError {
  return operationError(FormatError, {
    code: "not-found",
    doing: `find "${location}", the external data of "${path}"`,
    path: location,
    tensor: tensor.name,
    hint,
  });
}

function checkInside(source: ByteSource, tensor: OnnxTensor, offset: number, length: number): void {
  if (offset + length <= source.size) return;
  const reason = `it ends at byte ${offset + length}, past the end at ${source.size}`;
  throw fileErrors(source)("size-mismatch", reason, {
    tensor: tensor.name,
    offset,
    hint: "The data file is cut off or belongs to another model",
  });
}
