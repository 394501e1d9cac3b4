import type { ReadOptions } from "../../io/byte-source.ts";
import type { Method, ModelConfig, Weight } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import type { StoredModel } from "../../model/stored-model.ts";
import { codecOf } from "../../tensor/quantization/codec-of.ts";
import { type Difference, NumberComparison } from "./compare-numbers.ts";
import { weightBytes } from "../../model/sharing.ts";
import type { BlobReader, Store } from "../../store/store.ts";
import { withModels } from "../../store/with-model.ts";

/** Number of bytes read from each side at a time, rounded down to complete blocks. A multiple of every element width. */
const CHUNK = 1024 * 1024;

/** A weight that two models have under one name with different bytes. */
export interface ChangedWeight {
  readonly method: string;
  readonly name: string;
  readonly a: Weight;
  readonly b: Weight;
  /** `undefined` if dtype or shape differ. */
  readonly difference: Difference | undefined;
}

/** A set of weights of one model, or of both. */
export interface WeightSet {
  readonly count: number;
  /** Size in bytes; equal weights count once. */
  readonly bytes: number;
  readonly names: readonly string[];
}

/** The differences between two models. */
export interface ModelDiff {
  readonly a: string;
  readonly b: string;
  /** Whether both models have the same programs. */
  readonly sameProgram: boolean;
  readonly same: WeightSet;
  readonly changed: readonly ChangedWeight[];
  /** Size in bytes of the weights of `b` that `a` does not have: an update from a to b ships them. */
  readonly changedBytes: number;
  readonly onlyInA: WeightSet;
  readonly onlyInB: WeightSet;
}

/**
 * Compares two models of a store weight by weight, by name within methods of the same name; a weight that several methods
 * use is compared once.
 * @throws StoreError `not-found`, `missing-blob`, `corrupted`
 */
export async function diff(
  store: Store,
  a: string,
  b: string,
  options: ReadOptions = {},
): Promise<ModelDiff> {
  return withModels(store, [a, b], ([left, right]) =>
    diffModels(store, left as StoredModel, right as StoredModel, options),
  );
}

async function diffModels(
  store: BlobReader,
  a: StoredModel,
  b: StoredModel,
  options: ReadOptions,
): Promise<ModelDiff> {
  const same: [string, Weight][] = [];
  const changed: ChangedWeight[] = [];
  const onlyInA: [string, Weight][] = [];
  const onlyInB: [string, Weight][] = [];
  const compared = new Map<string, Difference>();
  for (const [left, right] of pairMethods(a.config, b.config)) {
    const others = new Map((right?.weights ?? []).map((weight) => [weight.name, weight]));
    for (const weight of left?.weights ?? []) {
      const other = others.get(weight.name);
      const method = left?.name ?? "";
      others.delete(weight.name);
      if (!other) onlyInA.push([`${method}/${weight.name}`, weight]);
      else if (other.digest === weight.digest) same.push([`${method}/${weight.name}`, weight]);
      else {
        const key = weight.digest + other.digest;
        const alike = other.dtype === weight.dtype && other.shape.join() === weight.shape.join();
        const difference = alike
          ? (compared.get(key) ?? (await compare(store, a, b, weight, other, options)))
          : undefined;
        if (difference) compared.set(key, difference);
        changed.push({ method, name: weight.name, a: weight, b: other, difference });
      }
    }
    for (const weight of others.values()) onlyInB.push([`${right?.name}/${weight.name}`, weight]);
  }
  const known = new Set(a.config.methods.flatMap((method) => method.weights.map((weight) => weight.digest)));
  const updated = b.config.methods.flatMap((method) =>
    method.weights.filter((weight) => !known.has(weight.digest)),
  );
  return {
    a: a.name,
    b: b.name,
    sameProgram: programs(a.config) === programs(b.config),
    same: weightSet(same),
    changed,
    changedBytes: weightSet(updated.map((weight) => ["", weight])).bytes,
    onlyInA: weightSet(onlyInA),
    onlyInB: weightSet(onlyInB),
  };
}

/** Pairs methods of the same name. If both models have one method, these are a pair even if their names differ. */
function pairMethods(a: ModelConfig, b: ModelConfig): [Method | undefined, Method | undefined][] {
  if (a.methods.length === 1 && b.methods.length === 1) return [[a.methods[0], b.methods[0]]];
  const others = new Map(b.methods.map((method) => [method.name, method]));
  const pairs: [Method | undefined, Method | undefined][] = a.methods.map((method) => {
    const other = others.get(method.name);
    others.delete(method.name);
    return [method, other];
  });
  return [...pairs, ...[...others.values()].map((method): [undefined, Method] => [undefined, method])];
}

async function compare(
  store: BlobReader,
  a: StoredModel,
  b: StoredModel,
  left: Weight,
  right: Weight,
  options: ReadOptions,
): Promise<Difference> {
  const [from, to] = [a.locations.get(left.digest), b.locations.get(right.digest)];
  const comparison = new NumberComparison(left.dtype);
  if (!from || !to) return comparison.result();
  const step = CHUNK - (CHUNK % (codecOf(left.dtype)?.blockBytes ?? 1));
  await using x = await store.blobs.open(from.blob);
  await using y = await store.blobs.open(to.blob);
  for (let at = 0; at < from.length; at += step) {
    const length = Math.min(step, from.length - at);
    comparison.add(
      await x.read(from.offset + at, length, options),
      await y.read(to.offset + at, length, options),
    );
  }
  return comparison.result();
}

function weightSet(weights: readonly (readonly [string, Weight])[]): WeightSet {
  const once = new Map<Digest, Weight>(weights.map(([, weight]) => [weight.digest, weight]));
  const bytes = [...once.values()].reduce((sum, weight) => sum + weightBytes(weight), 0);
  return { count: weights.length, bytes, names: weights.map(([name]) => name) };
}

function programs(config: ModelConfig): string {
  const digests: string[] = config.methods.map((method) => config.files[method.file]?.skeleton ?? "");
  return digests.sort().join();
}
