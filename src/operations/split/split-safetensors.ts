import { encodeSafetensorsHeader } from "../../formats/safetensors/write.ts";
import type { Weight } from "../../model/config.ts";
import { encodeJson } from "../../model/manifest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import {
  fileNameOf,
  placeOf,
  type SplitLayout,
  type SplitLink,
  type SplitTextFile,
  type SplitWeightFile,
} from "./split-layout.ts";
import type { SplitPlan } from "./split-plan.ts";
import { weightBytes } from "../../model/sharing.ts";

const FOUNDATION = "foundation.safetensors";
/** File names that readers of sharded models look for. */
const INDEX = "model.safetensors.index.json";
const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
/** Metadata that readers of PyTorch weights require. */
const METADATA = { format: "pt" };

/**
 * Lays out a split of safetensors models: `foundation.safetensors`, `adapter-MODEL.safetensors`, and for each model a
 * folder with a sharded model, which consists of an index and links to the two files.
 */
export function splitSafetensors(models: readonly StoredModel[], plan: SplitPlan): SplitLayout {
  const shared = fileOf(models[0] as StoredModel, FOUNDATION, plan.foundation.weights);
  const weightFiles: SplitWeightFile[] = [
    { ...shared, part: "foundation", models: models.map((model) => model.name) },
  ];
  const written: SplitTextFile[] = [];
  const links: SplitLink[] = [];
  models.forEach((model, index) => {
    const name = fileNameOf(model);
    const weights = plan.adapters[index]?.weights ?? [];
    const path = `adapter-${name}.safetensors`;
    weightFiles.push({ ...fileOf(model, path, weights), part: "adapter", models: [model.name] });
    links.push(
      { path: `${name}/${SHARDS[0]}`, target: path },
      { path: `${name}/${SHARDS[1]}`, target: FOUNDATION },
    );
    const bytes = encodeJson(indexOf(weights, plan.foundation.weights));
    written.push({ path: `${name}/${INDEX}`, models: [model.name], bytes });
  });
  return { weightFiles, written, links };
}

function fileOf(
  model: StoredModel,
  path: string,
  weights: readonly Weight[],
): Pick<SplitWeightFile, "path" | "weights" | "file"> {
  const { bytes: header, tensors, size } = encodeSafetensorsHeader(weights, METADATA);
  const file = {
    header,
    offsets: tensors.map(({ offset }) => offset),
    size,
    weights: tensors.map(({ spec }) => placeOf(model, spec)),
  };
  return { path, weights, file };
}

function indexOf(own: readonly Weight[], shared: readonly Weight[]): unknown {
  const total = [...own, ...shared].reduce((sum, weight) => sum + weightBytes(weight), 0);
  const shardOf =
    (shard: string) =>
    (weight: Weight): [string, string] => [weight.name, shard];
  return {
    metadata: { total_size: total },
    weight_map: Object.fromEntries([...own.map(shardOf(SHARDS[0])), ...shared.map(shardOf(SHARDS[1]))]),
  };
}
