import { LinkError } from "../errors.ts";
import type { Weight } from "../model/config.ts";
import type { DType } from "../tensor/dtype.ts";
import { listCases, type NameMap } from "./name-map.ts";

/** A weight of a checkpoint, whose bytes were not looked at. */
export interface NewWeight {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** What each weight of a model becomes. */
export interface WeightMatch<W extends NewWeight> {
  /** By the model's names. */
  readonly bound: ReadonlyMap<string, W>;
  /** Names of the model that keep what they have. */
  readonly kept: readonly string[];
}

/** Options of {@link matchWeights}. */
export interface MatchOptions {
  readonly mapping?: NameMap | undefined;
  /** Weights that the checkpoint lacks stay what they are. */
  readonly partial?: boolean | undefined;
  /** What errors say that cannot be done; "refit" unless given. */
  readonly doing?: string | undefined;
}

/**
 * Finds the new bytes of every weight of a model, strictly: all of them are there, none is left over, and each has
 * the dtype and shape that the program was compiled for.
 * @param weights of the model; a name that several methods have is one weight
 * @throws LinkError listing every case: `mismatch` for another dtype or shape, `missing-weight`, `unused-weight`,
 * `not-found` for a mapping of names that nobody has, `duplicate` for one new weight that two different ones would get
 */
export function matchWeights<W extends NewWeight>(
  weights: readonly Weight[],
  checkpoint: ReadonlyMap<string, W>,
  { mapping = new Map(), partial = false, doing = "refit" }: MatchOptions = {},
): WeightMatch<W> {
  const model = new Map(weights.map((weight) => [weight.name, weight]));
  checkNames(mapping, model, checkpoint, doing);
  const bound = new Map<string, W>();
  const kept: string[] = [];
  const takers = new Map<string, Weight>();
  const aliased: string[] = [];
  const mismatched: string[] = [];
  for (const [name, weight] of model) {
    const found = checkpoint.get(mapping.get(name) ?? name);
    if (!found) {
      kept.push(name);
      continue;
    }
    const taker = takers.get(found.name);
    if (taker && taker.digest !== weight.digest)
      aliased.push(`"${found.name}" for ${taker.name} and ${name}`);
    takers.set(found.name, weight);
    if (!alike(weight, found))
      mismatched.push(`${name} is ${describe(weight)}, the new one ${describe(found)}`);
    bound.set(name, found);
  }
  const unused = [...checkpoint.keys()].filter((name) => !takers.has(name));
  const refuse = (
    code: LinkError["code"],
    reason: string,
    cases: readonly string[],
    hint: string,
  ): LinkError =>
    new LinkError(code, `Cannot ${doing}: ${reason}: ${listCases(cases)}`, {
      tensor: cases[0]?.split(" ")[0],
      hint,
    });
  if (mismatched.length > 0) {
    const hint =
      "the program is compiled for these shapes: with a program of their own, add them as a model (--recompile)";
    throw refuse("mismatch", "another dtype or shape", mismatched, hint);
  }
  if (aliased.length > 0) {
    throw refuse(
      "duplicate",
      "one new weight for two that are not alike",
      aliased,
      "map each to one of its own",
    );
  }
  const names = "where names differ, --propose makes a mapping for --map";
  if (kept.length > 0 && !partial) {
    throw refuse(
      "missing-weight",
      `the new weights lack ${kept.length} of ${model.size}`,
      kept,
      `${names}; --partial keeps the old ones`,
    );
  }
  if (unused.length > 0)
    throw refuse("unused-weight", `the model has no use for ${unused.length} of them`, unused, names);
  if (bound.size === 0)
    throw refuse("missing-weight", "none of the new weights is one of the model's", kept, names);
  return { bound, kept };
}

function checkNames(
  mapping: NameMap,
  model: ReadonlyMap<string, Weight>,
  checkpoint: ReadonlyMap<string, NewWeight>,
  doing: string,
): void {
  const odd = [...mapping].flatMap(([name, target]) => {
    if (!model.has(name)) return [`the model has no "${name}"`];
    return checkpoint.has(target) ? [] : [`the new weights have no "${target}", for "${name}"`];
  });
  if (odd.length === 0) return;
  throw new LinkError("not-found", `Cannot ${doing} by this mapping: ${listCases(odd)}`, {
    hint: "its keys are names of the model, its values names of the new weights",
  });
}

function alike(a: NewWeight, b: NewWeight): boolean {
  return a.dtype === b.dtype && a.shape.join() === b.shape.join();
}

function describe({ dtype, shape }: NewWeight): string {
  return `${dtype} [${shape.join(", ")}]`;
}
