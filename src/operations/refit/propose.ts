import type { Weight } from "../../model/config.ts";
import type { ExpectedWeight } from "../../weights/match-weights.ts";

/** A proposed pair of a weight of the model and a new weight. */
export interface Proposal {
  /** Name of the weight of the model. */
  readonly name: string;
  /** Name of the new weight. */
  readonly from: string;
  /** Similarity of names and values, from 0 to 1. */
  readonly likeness: number;
  /** Whether another new weight of that dtype and shape has about the same likeness. */
  readonly ambiguous: boolean;
}

/** Returns the first elements of a weight as numbers; `undefined` if they cannot be decoded. */
export type Sample = (name: string) => Float32Array | undefined;

/** Two pairs are ambiguous if their likeness differs by less than this. */
const CLOSE = 0.05;
/** Largest number of candidates of one dtype and shape that are compared by values. */
const MAX_COMPARED = 512;

/**
 * Proposes a mapping for weights whose names differ: pairs each weight with the new weight of the same dtype and shape
 * whose values and name are most similar. The values of a fine-tune are close to those of its base, even if names differ.
 * @param samples first elements of the weights of both sides
 */
export function proposeMapping(
  weights: readonly Weight[],
  checkpoint: Iterable<ExpectedWeight>,
  samples: Samples,
): Proposal[] {
  const groups = new Map<string, ExpectedWeight[]>();
  for (const each of checkpoint) {
    const key = keyOf(each);
    groups.set(key, [...(groups.get(key) ?? []), each]);
  }
  const pairs = weights.flatMap((weight) => {
    const candidates = groups.get(keyOf(weight)) ?? [];
    // Comparing values of, say, a thousand experts pairwise takes too long: compare names only.
    const likeness = candidates.length > MAX_COMPARED ? byName : byNameAndValues;
    return candidates.map(({ name: from }): Pair => {
      return { name: weight.name, from, likeness: likeness(weight.name, from, samples) };
    });
  });
  const options = new Map<string, Pair[]>();
  for (const pair of pairs) {
    const known = options.get(pair.name);
    if (known) known.push(pair);
    else options.set(pair.name, [pair]);
  }
  pairs.sort((a, b) => b.likeness - a.likeness || (a.name < b.name ? -1 : 1));
  const taken = new Set<string>();
  const proposals: Proposal[] = [];
  for (const pair of pairs) {
    const others = options.get(pair.name);
    if (!others || taken.has(pair.from)) continue;
    const ambiguous = others.some(
      ({ from, likeness }) => from !== pair.from && !taken.has(from) && pair.likeness - likeness < CLOSE,
    );
    options.delete(pair.name);
    taken.add(pair.from);
    proposals.push({ ...pair, ambiguous });
  }
  return proposals.sort((a, b) => (a.name < b.name ? -1 : 1));
}

type Pair = Omit<Proposal, "ambiguous">;
type Samples = { readonly model: Sample; readonly checkpoint: Sample };

function byName(name: string, from: string): number {
  return name === from ? 1 : nameLikeness(name, from);
}

function byNameAndValues(name: string, from: string, samples: Samples): number {
  const values = cosine(samples.model(name), samples.checkpoint(from));
  const names = byName(name, from);
  return values === undefined ? names : (2 * Math.max(0, values) + names) / 3;
}

function keyOf({ dtype, shape }: ExpectedWeight): string {
  return `${dtype} ${shape.join()}`;
}

/**
 * Similarity of the words of two names (Dice coefficient). Numbers count twice, so that a weight is paired with one of
 * the same layer.
 */
function nameLikeness(a: string, b: string): number {
  const [left, right] = [words(a), words(b)];
  let common = 0;
  const rest = [...right];
  for (const word of left) {
    const at = rest.indexOf(word);
    if (at < 0) continue;
    rest.splice(at, 1);
    common += weightOf(word);
  }
  const total = [...left, ...right].reduce((sum, word) => sum + weightOf(word), 0);
  return total === 0 ? 0 : (2 * common) / total;
}

function words(name: string): string[] {
  return name.toLowerCase().match(/\d+|[a-z]+/g) ?? [];
}

function weightOf(word: string): number {
  return /^\d/.test(word) ? 2 : 1;
}

/** Cosine similarity of two samples of one length; `undefined` if a sample is missing or has only zeros. */
function cosine(a: Float32Array | undefined, b: Float32Array | undefined): number | undefined {
  if (!a || !b || a.length !== b.length || a.length === 0) return undefined;
  let [dot, left, right] = [0, 0, 0];
  for (let index = 0; index < a.length; index++) {
    const [x, y] = [a[index] as number, b[index] as number];
    dot += x * y;
    left += x * x;
    right += y * y;
  }
  const size = Math.sqrt(left) * Math.sqrt(right);
  return size > 0 && Number.isFinite(dot) ? dot / size : undefined;
}
