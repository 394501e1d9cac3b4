import { matchWeights, weightTable } from "../../weights/match-weights.ts";
import { parseNameMap } from "../../weights/name-map.ts";
import { namedWeights, type NamedWeight } from "../../weights/names.ts";
import { openRef, type WeightRef } from "../../weights/open-ref.ts";
import { LinkError, UsageError } from "../../errors.ts";
import type { Weight } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import { locationOf } from "../../model/location-of.ts";
import type { Descriptor } from "../../model/manifest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { Progress } from "../../io/progress.ts";
import { addModel } from "../../local-store/add.ts";
import { patchModel, type PatchResult, type Placed, type Replacement } from "../../store/patch-model.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { readModel } from "../../store/read-model.ts";
import { requireModel } from "../../store/require-model.ts";
import { openLocalDraft } from "./local-draft.ts";
import { type NewWeights, openNewWeights } from "./new-weights.ts";

const NAMES = "If names differ, make a mapping for --map with --propose";
/** Hints for weights that do not match. */
const HINTS = {
  "missing-weight": `${NAMES}; keep the old weights with --partial`,
  "unused-weight": NAMES,
  mismatch:
    "The program is compiled for these shapes: give weights that come with their program, and --recompile",
  duplicate: "Map each name to a different weight",
} as const;

/** Options of {@link refit}. */
export interface RefitOptions {
  /** Name of the new model. */
  readonly as: string;
  /** Names of the model → names of the new weights, for names that differ. */
  readonly map?: Readonly<Record<string, string>> | undefined;
  /** Keep the old weights that the new weights do not have. */
  readonly partial?: boolean | undefined;
  /** If the new weights come with another program, use that program, which is then compiled. */
  readonly recompile?: boolean | undefined;
  /** Take the name even if another model has it. */
  readonly replace?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of a refit. Sizes in bytes. */
export interface RefitResult extends PatchResult {
  readonly base: string;
  /** `relink`: the compiled program is bound to the new weights. `recompile`: another program will be compiled. */
  readonly how: "relink" | "recompile";
  /** Number of weights that were bound. A weight that several methods use counts once. */
  readonly bound: number;
  /** Names of the old weights that a partial refit kept. */
  readonly kept: readonly string[];
}

/**
 * Binds the programs of a model to other weights, as a new model of the store. Compiles nothing, and writes only weights
 * that the store does not have.
 * @throws UsageError; LinkError for weights that do not match; StoreError, SourceError, FormatError
 */
export async function refit(
  store: LocalStore,
  base: string,
  source: WeightRef,
  options: RefitOptions,
): Promise<RefitResult> {
  const model = await readModel(store, base);
  if (options.as === base) {
    throw new UsageError("usage", `Cannot refit "${base}" under the same name`, {
      hint: "Refit under a new name, then remove the models that you no longer need",
    });
  }
  await using weights = await openNewWeights(store, source, options);
  const other = await weights.model();
  if (structureChanged(model, other)) {
    if (!options.recompile) {
      throw new LinkError("mismatch", `Cannot refit "${base}": the new weights come with another program`, {
        hint: "Use and compile that program with --recompile",
      });
    }
    const added = await addWithProgram(store, source, options);
    return { ...added, base, how: "recompile", bound: namedWeights(other.config).size, kept: [] };
  }
  const match = matchModel(model, other, options);
  await requireModel(store, model, { signal: options.signal });
  const place = oncePerAttempt(store, weights);
  const replacements = match.bound.map(({ weight, from }) => replacementOf(weight, from, place));
  const result = await patchModel(store, model, options.as, replacements, options);
  const staged = await usedBy(store, options.as, weights.fresh);
  return {
    ...result,
    newBytes: result.newBytes + staged.reduce((sum, [, size]) => sum + size, 0),
    newBlobs: result.newBlobs + staged.length,
    base,
    how: "relink",
    bound: match.bound.length,
    kept: match.kept,
  };
}

/** The new weight of each weight of a model. */
interface ModelMatch {
  readonly bound: readonly { readonly weight: NamedWeight; readonly from: Weight }[];
  /** Names of the weights that stay. */
  readonly kept: readonly string[];
}

/**
 * Matches the weights of two models by name.
 * @throws WeightMismatchError with every weight that does not match
 */
export function matchModel(
  model: StoredModel,
  other: StoredModel,
  { map = {}, partial }: Pick<RefitOptions, "map" | "partial">,
): ModelMatch {
  // With several methods, a weight is named by its method and name; a checkpoint names each weight once.
  const qualified = other.config.methods.length > 1;
  const weights = namedWeights(model.config, qualified);
  const checkpoint = namedWeights(other.config, qualified);
  const { bound, kept } = matchWeights(weights.values(), weightTable(other.name, checkpoint.values()), {
    program: model.name,
    map: parseNameMap(map, "the refit"),
    partial,
    rebind: true,
    hints: HINTS,
  });
  const pairs = [...bound].map(([name, key]) => {
    return { weight: weights.get(name) as NamedWeight, from: checkpoint.get(key) as Weight };
  });
  return { bound: pairs, kept };
}

/** Finds the new blobs that a model uses. */
async function usedBy(
  store: LocalStore,
  name: string,
  fresh: NewWeights["fresh"],
): Promise<(readonly [Digest, number])[]> {
  if (fresh.size === 0) return [];
  const { manifest } = await readModel(store, name);
  const used = new Set(manifest.layers.map((layer) => layer.digest));
  return [...fresh].filter(([digest]) => used.has(digest));
}

/** Whether the new weights come with another program, whose names may refer to other weights. */
function structureChanged({ config: a }: StoredModel, { config: b }: StoredModel): boolean {
  if (a.format !== "onnx" || b.format !== "onnx") return false;
  const programs = ({ methods, files }: StoredModel["config"]): string => {
    const all = methods.map(({ name, file }) =>
      [methods.length > 1 ? name : "", files[file]?.skeleton].join(" "),
    );
    return all.sort().join();
  };
  return programs(a) !== programs(b);
}

/** Adds the new weights and their program as a model. */
async function addWithProgram(
  store: LocalStore,
  source: WeightRef,
  { as, ...options }: RefitOptions,
): Promise<PatchResult> {
  const { signal } = options;
  await using opened = await openRef(source, { store, signal });
  if (opened.kind === "model") return patchModel(store, opened.model, as, [], options);
  await using local = await openLocalDraft(store, opened, options);
  const added = await addModel(store, as, local.draft, options);
  return { ...added, sharedBytes: 0 };
}

function replacementOf(
  weight: NamedWeight,
  from: Weight,
  place: (attempt: number) => Promise<StoredModel>,
): Replacement {
  return {
    weight,
    uses: weight.uses,
    async stored(attempt): Promise<Placed> {
      const model = await place(attempt);
      const location = locationOf(model, from.digest, { doing: "refit", weight: from.name });
      // The manifest lists every blob that has a location.
      const layer = model.manifest.layers.find((each) => each.digest === location.blob) as Descriptor;
      return { digest: from.digest, location, layer };
    },
  };
}

/** Reads the manifest of the new weights once for each attempt, because another process may repack their blobs. */
function oncePerAttempt(store: LocalStore, weights: NewWeights): (attempt: number) => Promise<StoredModel> {
  let known: { readonly attempt: number; readonly model: Promise<StoredModel> } | undefined;
  return (attempt) => {
    if (known?.attempt !== attempt) {
      const look = async (): Promise<StoredModel> => {
        const model = await weights.model();
        await requireModel(store, model);
        return model;
      };
      known = { attempt, model: look() };
    }
    return known.model;
  };
}
