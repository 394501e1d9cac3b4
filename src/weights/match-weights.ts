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
  /** Digest of the weight in the program; left out if any weight of the layout is accepted. */
  readonly digest?: Digest | undefined;
}

/** Weights by key: a source, or a table. */
export interface WeightTable {
  /** Name for errors. */
  readonly name: string;
  keys(): Iterable<string>;
  layout(key: string): (TensorLayout & { readonly digest?: Digest | undefined }) | undefined;
}

/** Options of {@link matchWeights}. */
export interface MatchOptions {
  /** Name of the program, for errors; "the program" if left out. */
  readonly program?: string | undefined;
  /** Path of the program's file, for errors. */
  readonly path?: string | undefined;
  /** Keys of the source by names of the program, for names that differ. */
  readonly map?: NameMap | undefined;
  /** Allow the source to lack weights of the program: those keep their values. */
  readonly partial?: boolean | undefined;
  /** Allow weights in the source that the program does not use. */
  readonly spare?: boolean | undefined;
  /**
   * Bind weights of other values: digests are not compared, but weights with different digests must not get the same
   * key.
   */
  readonly rebind?: boolean | undefined;
  /** Hints by error code. */
  readonly hints?: WeightHints | undefined;
}

/** Result of {@link matchWeights}. */
export interface WeightMatch {
  /** Keys of the source by names of the program. */
  readonly bound: ReadonlyMap<string, string>;
  /** Names of weights that keep their values. */
  readonly kept: readonly string[];
}

/**
 * Binds a program's weights by name, strictly: no weight is missing or unused, and each has the dtype, shape and, if
 * both sides have one, digest that the program expects. Reads no weights.
 * @throws WeightMismatchError `missing-weight`, `mismatch`, `duplicate`, `unused-weight`, with every case; LinkError
 * `not-found` for names of the map that the program or the source does not have
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
  throw new WeightMismatchError(
    `use "${given.name}" for "${program}"`,
    findings,
    options.hints,
    options.path,
  );
}

/** Makes a table of a list of weights. */
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
  throw new LinkError("not-found", `Cannot use the mapping: ${listCases(odd)}`, {
    hint: "Map names of the program to names of the new weights",
  });
}
