import type { GgufHeader } from "../../formats/gguf/parse.ts";
import { ggufShardName } from "../../formats/gguf/split.ts";
import type { GgufTensorSpec } from "../../formats/gguf/write.ts";
import type { Weight } from "../../model/config.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import { firstShard, shardHeader } from "../../link/shards.ts";
import {
  fileNameOf,
  placeOf,
  type SplitLayout,
  type SplitLink,
  type SplitWeightFile,
} from "./split-layout.ts";
import type { SplitPlan } from "./split-plan.ts";

/** Number of shards of each model: its adapter, which has the metadata, and the foundation. */
const SHARDS = 2;

/**
 * Lays out a split of GGUF models. `adapter-MODEL.gguf` is shard 1 of one model; `foundation.gguf` is shard 2 of every
 * model. A folder for each model links to its two shards, because llama.cpp finds shards by their names.
 * @param headers headers of the models, in the same order
 */
export function splitGguf(
  models: readonly StoredModel[],
  plan: SplitPlan,
  headers: readonly GgufHeader[],
): SplitLayout {
  const weightFiles = [foundationFile(models, plan, headers)];
  const links: SplitLink[] = [];
  models.forEach((model, index) => {
    const { metadata, tensors } = headers[index] as GgufHeader;
    const weights = plan.adapters[index]?.weights ?? [];
    const typeOf = typesOf(headers[index] as GgufHeader);
    const specs = weights.map((weight): GgufTensorSpec => {
      return { name: weight.name, type: typeOf(weight), shape: weight.shape };
    });
    const { bytes: header, offsets, size } = firstShard(metadata, SHARDS, tensors.length, specs);
    const name = fileNameOf(model);
    const path = `adapter-${name}.gguf`;
    const file = { header, offsets, size, weights: weights.map((weight) => placeOf(model, weight)) };
    weightFiles.push({ path, part: "adapter", models: [model.name], weights, file });
    [path, "foundation.gguf"].forEach((target, no) =>
      links.push({ path: `${name}/${ggufShardName({ prefix: name, no, count: SHARDS })}`, target }),
    );
  });
  return { weightFiles, written: [], links };
}

function foundationFile(
  models: readonly StoredModel[],
  { foundation: { weights } }: SplitPlan,
  headers: readonly GgufHeader[],
): SplitWeightFile {
  const typeOf = typesOf(headers[0] as GgufHeader);
  const { bytes: header, offsets, size } = shardHeader({ position: SHARDS, weights }, typeOf);
  const places = weights.map((weight) => placeOf(models[0] as StoredModel, weight));
  return {
    path: "foundation.gguf",
    part: "foundation",
    models: models.map((model) => model.name),
    weights,
    file: { header, offsets, size, weights: places },
  };
}

/** Returns a function that finds the ggml type number of a weight. */
function typesOf({ tensors }: GgufHeader): (weight: Weight) => number {
  const types = new Map(tensors.map(({ name, type }) => [name, type]));
  return ({ name }) => types.get(name) ?? 0;
}
