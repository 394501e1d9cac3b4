import { matchWeights, weightTable } from "../../weights/match-weights.ts";
import { parseNameMap } from "../../weights/name-map.ts";
import { namedWeights, type NamedWeight } from "../../weights/names.ts";
import { openRef, type WeightRef } from "../../weights/open-ref.ts";
import { LinkError, operationError, UsageError } from "../../errors.ts";
import type { Weight } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import type { Progress } from "../../io/progress.ts";
import { addModel } from "../../local-store/add.ts";
import { patchModel, type PatchResult, type Placed, type Replacement } from "../../store/patch-model.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { readModel } from "../../store/read-model.ts";
import { requireModel } from "../../store/require-model.ts";
import { openLocalDraft } from "./local-draft.ts";
import { type NewWeights, openNewWeights } from "./new-weights.ts";

/** What to do about weights that do not fit. */
const NAMES = "Where names differ, --propose makes a mapping for --map";
const HINTS = {
  "missing-weight": `${NAMES}; --partial keeps the old ones`,
  "unused-weight": NAMES,
  mismatch:
    "The program is compiled for these shapes: with a program of their own, add them as a model (--recompile)",
  duplicate: "Map each to one of its own",
} as const;

/** Options of `TareStore.refit`. */
export interface RefitOptions {
  /** The new model's name. */
  readonly as: string;
  /** Names of the model → names of the new weights, where they differ. */
  readonly map?: Readonly<Record<string, string>> | undefined;
  /** Weights that the new ones lack stay what they are. */
  readonly partial?: boolean | undefined;
  /** New weights that come with another program are taken with that program, which is compiled. */
  readonly recompile?: boolean | undefined;
  /** Give the name to this model though another has it. */
  readonly replace?: boolean | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a refit did. Sizes in bytes. */
export interface RefitResult extends PatchResult {
  readonly base: string;
  /** `relink`: the program is the one that was compiled, bound to other weights. */
  readonly how: "relink" | "recompile";
  /** Weights that were bound anew, each counted once however many methods use it. */
  readonly bound: number;
  /** Names of those that stayed, which only a partial refit has. */
  readonly kept: readonly string[];
}

/**
 * Binds a model's programs to other weights, as a new model of the store: nothing is compiled, and weights that the
 * store has are not written.
 */
export async function refit(
  store: LocalStore,
  base: string,
  source: WeightRef,
  options: RefitOptions,
): Promise<RefitResult> {
  const model = await readModel(store, base);
  if (options.as === base) {
    throw new UsageError("usage", `Cannot refit "${base}" under its own name`, {
      hint: "refit under a new name, then remove what is not needed any more",
    });
  }
  await using weights = await openNewWeights(store, source, options);
  const other = await weights.model();
  if (structureChanged(model, other)) {
    if (!options.recompile) {
      throw new LinkError("mismatch", `Cannot refit "${base}": the new weights come with another program`, {
        hint: "--recompile takes that program too, and compiles it",
      });
    }
    const taken = await takeWhole(store, source, options);
    return { ...taken, base, how: "recompile", bound: namedWeights(other.config).size, kept: [] };
  }
  const match = matchModel(model, other, options);
  refuseUnread(base, match.kept, weights.unread, options.map ?? {});
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

/** What each weight of a model becomes. */
interface ModelMatch {
  readonly bound: readonly { readonly weight: NamedWeight; readonly from: Weight }[];
  /** Names of weights that keep what they have. */
  readonly kept: readonly string[];
}

/**
 * Matches the weights of two models by name.
 * @throws WeightMismatchError with every case that does not fit
 */
export function matchModel(
  model: StoredModel,
  other: StoredModel,
  { map = {}, partial }: Pick<RefitOptions, "map" | "partial">,
): ModelMatch {
  // Names of graphs mean something in their own graph only; a checkpoint has one name for one weight.
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

/**
 * Refuses to keep an old weight where there is a new one that cannot be read.
 * @throws LinkError `unsupported`
 */
function refuseUnread(
  base: string,
  kept: readonly string[],
  unread: NewWeights["unread"],
  map: Readonly<Record<string, string>>,
): void {
  for (const name of kept) {
    const key = Object.hasOwn(map, name) ? (map[name] as string) : name;
    const form = unread.get(key);
    if (form === undefined) continue;
    throw operationError(LinkError, {
      code: "unsupported",
      doing: `refit weight "${name}" of "${base}"`,
      reason: `the new one is ${form}`,
      tensor: key,
      hint: "Save it as plain numbers, or take it out of the new weights to keep the old one",
    });
  }
}

/** Which new blobs a model uses. */
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

/** Whether new weights come with a program, and it is another one: then their names are of no help. */
function structureChanged({ config: a }: StoredModel, { config: b }: StoredModel): boolean {
  if (a.format !== "onnx" || b.format !== "onnx") return false;
  const programs = ({ methods, files }: StoredModel["config"]): string => {
    const all = methods.map(({ name, file }) =>
      [methods.length > 1 ? name : "", files[file]?.rest].join(" "),
    );
    return all.sort().join();
  };
  return programs(a) !== programs(b);
}

/** Takes new weights with the program that they come with. */
async function takeWhole(
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
      const location = model.locations.get(from.digest);
      const layer = model.manifest.layers.find((each) => each.digest === location?.blob);
      if (location && layer) return { digest: from.digest, location, layer };
      throw new LinkError("missing-weight", `Cannot refit: the new "${from.name}" has no location`, {
        tensor: from.name,
        digest: from.digest,
      });
    },
  };
}

/** Looks at new weights once an attempt: they move where another process lays them out anew. */
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
