import type { ReadOptions } from "../io/byte-source.ts";
import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { elementCount, tensorBytes } from "../tensor/dtype.ts";
import { floatCodec, loraError } from "./lora-matrices.ts";
import type { BlobReader } from "../store/store.ts";

const ALPHA = ".alpha";

/** The weights of an adapter without its alphas, and the alphas. */
export interface SplitAlphas {
  readonly matrices: readonly Weight[];
  /** Alpha of each module, by name. */
  readonly alphas: ReadonlyMap<string, number>;
}

/**
 * Separates the weights `MODULE.alpha`, which have one float each, and reads them.
 * @throws LinkError `malformed` for an alpha that is not one finite number, or that is 0, which trainers interpret
 * differently
 */
export async function splitAlphas(
  store: BlobReader,
  model: StoredModel,
  options: ReadOptions = {},
): Promise<SplitAlphas> {
  const weights = model.config.methods.flatMap((method) => method.weights);
  const alphas = new Map<string, number>();
  for (const weight of weights) {
    if (!weight.name.endsWith(ALPHA)) continue;
    const value = await readNumber(store, model, weight, options);
    if (value === undefined || !Number.isFinite(value) || value === 0) {
      const is =
        value === undefined ? `of type ${weight.dtype} and shape [${weight.shape.join(", ")}]` : value;
      throw loraError("malformed", model.name, `"${weight.name}" is ${is}`, weight.name);
    }
    alphas.set(weight.name.slice(0, -ALPHA.length), value);
  }
  return { matrices: weights.filter((weight) => !weight.name.endsWith(ALPHA)), alphas };
}

async function readNumber(
  store: BlobReader,
  { locations }: StoredModel,
  weight: Weight,
  options: ReadOptions,
): Promise<number | undefined> {
  const codec = floatCodec(weight);
  const location = locations.get(weight.digest);
  const length = tensorBytes(weight.dtype, weight.shape);
  if (elementCount(weight.shape) !== 1 || codec?.blockElements !== 1 || !location || length === undefined) {
    return undefined;
  }
  await using source = await store.blobs.open(location.blob);
  const value = new Float32Array(1);
  codec.decode(await source.read(location.offset, length, options), value);
  return value[0];
}

/**
 * Checks that each alpha has its matrices.
 * @throws LinkError `missing-weight`
 */
export function checkAlphas(
  adapter: string,
  alphas: ReadonlyMap<string, number>,
  modules: readonly string[],
): void {
  const known = new Set(modules);
  for (const module of alphas.keys()) {
    if (known.has(module)) continue;
    const name = `${module}${ALPHA}`;
    throw loraError(
      "missing-weight",
      adapter,
      `"${name}" has no matrices beside it`,
      name,
      "Get the adapter again: it is incomplete",
    );
  }
}
