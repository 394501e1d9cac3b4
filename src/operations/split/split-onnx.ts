import type { Method, Weight } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { WeightFile } from "../../model/weight-file.ts";
import { linkOnnx, openOnnxProgram } from "../../link/onnx-program.ts";
import { planLink } from "../../model/plan.ts";
import {
  fileNameOf,
  placeOf,
  type SplitLayout,
  type SplitTextFile,
  type SplitWeightFile,
} from "./split-layout.ts";
import type { SplitPlan } from "./split-plan.ts";
import type { BlobReader } from "../../store/store.ts";

/** Alignment of large weights: ONNX Runtime maps them by pages, and reads small weights. */
const PAGE = 4096;
const CACHE_LINE = 64;
const LARGE = 16 * PAGE;

/** Location of a weight in a file of the split. */
interface Place {
  readonly location: string;
  readonly offset: number;
}

/**
 * Lays out a split of ONNX models: `foundation.bin`, `adapter-MODEL.bin`, and the programs, which use both files as
 * external data.
 */
export async function splitOnnx(
  store: BlobReader,
  models: readonly StoredModel[],
  plan: SplitPlan,
): Promise<SplitLayout> {
  const shared = fileOf(models[0] as StoredModel, "foundation.bin", plan.foundation.weights);
  const weightFiles: SplitWeightFile[] = [
    { ...shared, part: "foundation", models: models.map((model) => model.name) },
  ];
  const written: SplitTextFile[] = [];
  for (const [index, model] of models.entries()) {
    const name = fileNameOf(model);
    const own = fileOf(model, `adapter-${name}.bin`, plan.adapters[index]?.weights ?? []);
    if (own.weights.length > 0) weightFiles.push({ ...own, part: "adapter", models: [model.name] });
    const places = new Map([...placesIn(shared), ...placesIn(own)]);
    for (const method of model.config.methods) {
      const path = model.config.methods.length === 1 ? `${name}.onnx` : `${name}-${method.name}.onnx`;
      const bytes = await thinProgram(store, model, method, places);
      written.push({ path, models: [model.name], bytes });
    }
  }
  return { weightFiles, written, links: [] };
}

function fileOf(
  model: StoredModel,
  path: string,
  weights: readonly Weight[],
): { path: string; weights: readonly Weight[]; file: WeightFile } {
  const places = weights.map((weight) => placeOf(model, weight));
  const offsets: number[] = [];
  let end = 0;
  for (const { from } of places) {
    const alignment = from.length >= LARGE ? PAGE : CACHE_LINE;
    const offset = Math.ceil(end / alignment) * alignment;
    offsets.push(offset);
    end = offset + from.length;
  }
  return { path, weights, file: { header: new Uint8Array(0), offsets, size: end, weights: places } };
}

function placesIn({ path, file }: { readonly path: string; readonly file: WeightFile }): [Digest, Place][] {
  return file.weights.map(({ digest }, index) => [
    digest,
    { location: path, offset: file.offsets[index] as number },
  ]);
}

async function thinProgram(
  store: BlobReader,
  model: StoredModel,
  method: Method,
  places: ReadonlyMap<Digest, Place>,
): Promise<Uint8Array> {
  const plan = planLink(model, method, (blob) => blob);
  const weights = plan.weights.map((weight) => ({ ...weight, ...(places.get(weight.digest) as Place) }));
  return linkOnnx(await openOnnxProgram(store, model, method, { ...plan, weights }));
}
