import { LinkError } from "../errors.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import type { MethodDraft, WeightDraft } from "../model/draft.ts";
import { crossedRanges, rangeKey } from "../model/holes.ts";
import type { StoredModel } from "../model/stored-model.ts";

/** A weight by its method and name. */
export interface WeightUse {
  readonly method: string;
  readonly name: string;
}

/** Returns a key that is equal for equal uses. */
export function useKey({ method, name }: WeightUse): string {
  return JSON.stringify([method, name]);
}

/**
 * Finds the holes of weights by the config alone, which is possible if every weight has a hole and a digest of its own.
 * @returns the hole of each use, as {@link placesOf} returns it; `undefined` if the files must be read
 */
export function plainPlaces(
  { config }: StoredModel,
  uses: readonly WeightUse[],
): Map<string, string> | undefined {
  const holes = new Map<Digest, string>();
  for (const [file, { holes: each }] of config.files.entries()) {
    for (const hole of each) {
      if (holes.has(hole.digest) || hole.varint) return undefined;
      holes.set(hole.digest, rangeKey({ file, ...hole }));
    }
  }
  const used = new Set<Digest>();
  const places = new Map<string, string>();
  for (const method of config.methods) {
    for (const { name, digest } of [...method.weights, ...method.constants]) {
      const place = holes.get(digest);
      if (place === undefined || used.has(digest)) return undefined;
      used.add(digest);
      places.set(useKey({ method: method.name, name }), place);
    }
  }
  const wanted = new Map(uses.map((use) => [useKey(use), places.get(useKey(use))]));
  return [...wanted.values()].includes(undefined) ? undefined : (wanted as Map<string, string>);
}

/**
 * Finds the holes of weights in a model's files, and checks that each weight can be replaced: it fills a hole, and no
 * unchanged weight uses bytes of that hole.
 * @param methods the methods as a reader found them in the files
 * @returns the hole of each use, as a {@link rangeKey}
 * @throws LinkError `unsupported`, with the name of the weight
 */
export function placesOf(
  model: StoredModel,
  methods: readonly MethodDraft[],
  uses: readonly WeightUse[],
): Map<string, string> {
  const wanted = new Set(uses.map(useKey));
  const places = new Map<string, string>();
  const stays = new Map<string, string>();
  const refuse = (name: string, reason: string): LinkError =>
    new LinkError("unsupported", `Cannot replace weight "${name}" of "${model.name}": ${reason}`, {
      tensor: name,
    });
  const all: WeightDraft[] = [];
  for (const method of methods) {
    for (const weight of [...method.weights, ...method.constants]) {
      all.push(weight);
      const key = useKey({ method: method.name, name: weight.name });
      if (wanted.has(key)) {
        if (weight.at.varint) throw refuse(weight.name, "its file encodes it as varints");
        places.set(key, rangeKey(weight.at));
      } else stays.set(rangeKey(weight.at), weight.name);
    }
  }
  const crossed = crossedRanges(all.map(({ at }) => at));
  const holes = new Set(
    model.config.files.flatMap(({ holes: each }, file) => each.map((hole) => rangeKey({ file, ...hole }))),
  );
  for (const use of uses) {
    const place = places.get(useKey(use));
    if (place === undefined || !holes.has(place))
      throw refuse(use.name, "it fills no hole of the model's files");
    if (crossed.has(place)) throw refuse(use.name, "another weight overlaps part of it");
    const other = stays.get(place);
    if (other !== undefined)
      throw refuse(use.name, `"${other}" uses the same bytes of its file and does not change`);
  }
  return places;
}

/**
 * Returns a config with other digests for some weights and their holes.
 * @param digests digests of the new weights, by {@link useKey}
 * @param places holes of the uses, from {@link placesOf}
 */
export function patchConfig(
  config: ModelConfig,
  digests: ReadonlyMap<string, Digest>,
  places: ReadonlyMap<string, string>,
): ModelConfig {
  const atPlace = new Map([...digests].map(([use, digest]) => [places.get(use) as string, digest]));
  return {
    ...config,
    methods: config.methods.map((method) => ({
      ...method,
      weights: method.weights.map((weight) => {
        const digest = digests.get(useKey({ method: method.name, name: weight.name }));
        return digest ? { ...weight, digest } : weight;
      }),
    })),
    files: config.files.map((file, index) => ({
      ...file,
      holes: file.holes.map((hole) => {
        const digest = atPlace.get(rangeKey({ file: index, ...hole }));
        return digest ? { ...hole, digest } : hole;
      }),
    })),
  };
}
