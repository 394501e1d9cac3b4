import { LinkError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { sameLayout, type TensorLayout } from "../tensor/tensor-layout.ts";
import { listCases, type NameMap } from "./name-map.ts";
import {
  type DuplicateWeight,
  type MismatchedWeight,
  WeightMismatchError,
  type WeightHints,
} from "./weight-mismatch-error.ts";

/** A weight that a program expects. */
export interface ExpectedWeight extends TensorLayout {
  readonly name: string;
  /** That of the weight the program has; left out where any weight of that layout will do. */
  readonly digest?: Digest | undefined;
}

/** Weights that are there, by key: a source, or a table of one. */
export interface WeightTable {
  /** How errors name it. */
  readonly name: string;
  keys(): Iterable<string>;
  layout(key: string): (TensorLayout & { readonly digest?: Digest | undefined }) | undefined;
}

/** Options of {@link matchWeights}. */
export interface MatchOptions {
  /** How errors name what expects the weights; "the program" if left out. */
  readonly program?: string | undefined;
  /** Names of the program → keys of the source, where they differ. */
  readonly map?: NameMap | undefined;
  /** Weights that the source lacks stay what they are. */
  readonly partial?: boolean | undefined;
  /** The source may have weights that the program does not use. */
  readonly spare?: boolean | undefined;
  /**
   * The weights get other values: digests are not compared, but two weights whose digests differ do not become one.
   */
  readonly rebind?: boolean | undefined;
  /** What to do about each kind of case. */
  readonly hints?: WeightHints | undefined;
}

/** What each weight of a program is bound to. */
export interface WeightMatch {
  /** Keys of the source, by the program's names. */
  readonly bound: ReadonlyMap<string, string>;
  /** Names of the program that keep what they have. */
  readonly kept: readonly string[];
}

/**
 * Binds a program's weights by name, strictly: all of them are there, none is left over, and each has the dtype, shape
 * and, where both sides know one, digest that the program expects. Nothing is read.
 * @throws WeightMismatchError `missing-weight`, `mismatch`, `duplicate`, `unused-weight`, with every case; LinkError
 * `not-found` for a map of names that no side has
 */
export function matchWeights(
  expected: Iterable<ExpectedWeight>,
  given: WeightTable,
  options: MatchOptions = {},
): WeightMatch {
  const { program = "the program", map = new Map<string, string>(), partial, spare, rebind } = options;
  const weights = [...expected];
  const keys = new Set(given.keys());
  checkMap(map, new Set(weights.map(({ name }) => name)), given, program);
  const bound = new Map<string, string>();
  const takers = new Map<string, ExpectedWeight>();
  const missing: string[] = [];
  const mismatched: MismatchedWeight[] = [];
  const duplicate: DuplicateWeight[] = [];
  for (const weight of weights) {
    const { name, digest } = weight;
    const key = map.get(name) ?? name;
    const found = given.layout(key);
    if (!found) {
      missing.push(name);
      continue;
    }
    const taker = takers.get(key);
    if (bound.has(name) || (rebind && taker && taker.digest !== digest)) {
      duplicate.push({ key, names: [taker?.name ?? name, name] });
    }
    takers.set(key, weight);
    bound.set(name, key);
    const same = rebind || !digest || !found.digest || digest === found.digest;
    if (same && sameLayout(weight, found)) continue;
    const claim = { source: given.name, dtype: found.dtype, shape: found.shape, digest: found.digest };
    mismatched.push({
      name,
      sides: [
        { source: program, dtype: weight.dtype, shape: weight.shape, digest },
        key === name ? claim : { ...claim, key },
      ],
    });
  }
  const unused = spare ? [] : [...keys].filter((key) => !takers.has(key));
  const kept = partial && (bound.size > 0 || unused.length > 0) ? missing.splice(0) : [];
  if (missing.length + mismatched.length + duplicate.length + unused.length === 0) return { bound, kept };
  const findings = { missing, mismatched, duplicate, unused };
  throw new WeightMismatchError(`use "${given.name}" for "${program}"`, findings, options.hints);
}

/** Weights of a list as a table. */
export function weightTable(name: string, weights: Iterable<ExpectedWeight>): WeightTable {
  const table = new Map([...weights].map((weight) => [weight.name, weight]));
  return { name, keys: () => table.keys(), layout: (key) => table.get(key) };
}

function checkMap(map: NameMap, names: ReadonlySet<string>, given: WeightTable, program: string): void {
  const odd = [...map].flatMap(([name, key]) => {
    if (!names.has(name)) return [`"${program}" has no "${name}"`];
    return given.layout(key) ? [] : [`"${given.name}" has no "${key}", for "${name}"`];
  });
  if (odd.length === 0) return;
  throw new LinkError("not-found", `Cannot use this mapping: ${listCases(odd)}`, {
    hint: "its keys are names of the program, its values names of the new weights",
  });
}
