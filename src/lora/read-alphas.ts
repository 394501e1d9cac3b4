import type { Weight } from "../model/config.ts";
import type { StoredModel } from "../model/stored-model.ts";
import { elementCount, tensorBytes } from "../tensor/dtype.ts";
import { floatCodec, loraError, type LoraMatrices, type NameMatrix, pairMatrices } from "./lora-matrices.ts";
import type { BlobReader } from "../store/store.ts";

const ALPHA = ".alpha";

/** The pairs of an adapter, and its alphas. */
export interface PairsAndAlphas {
  readonly found: readonly LoraMatrices[];
  /** Alpha of each module, by name; none of a module without matrices. */
  readonly alphas: ReadonlyMap<string, number>;
}

/**
 * Pairs the matrices of an adapter whose alphas are weights beside them. Reads no weights but the alphas.
 * @throws LinkError what {@link pairMatrices} throws; `malformed` for an alpha that is not one finite number, or that is 0,
 * which trainers interpret differently; `missing-weight` for an alpha without matrices
 */
export async function pairsAndAlphas(
  store: BlobReader,
  model: StoredModel,
  nameMatrix: NameMatrix,
): Promise<PairsAndAlphas> {
  const { matrices, alphas } = await splitAlphas(store, model);
  const found = pairMatrices(model.name, matrices, nameMatrix);
  checkAlphas(
    model.name,
    alphas,
    found.map((each) => each.module),
  );
  return { found, alphas };
}

/** The weights of an adapter without its alphas, and the alphas. */
interface SplitAlphas {
  readonly matrices: readonly Weight[];
  /** Alpha of each module, by name. */
  readonly alphas: ReadonlyMap<string, number>;
}

/** Separates the weights `MODULE.alpha`, which have one float each, and reads them. */
async function splitAlphas(store: BlobReader, model: StoredModel): Promise<SplitAlphas> {
  const weights = model.config.methods.flatMap((method) => method.weights);
  const alphas = new Map<string, number>();
  for (const weight of weights) {
    if (!weight.name.endsWith(ALPHA)) continue;
    const value = await readNumber(store, model, weight);
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
): Promise<number | undefined> {
  const codec = floatCodec(weight);
  const location = locations.get(weight.digest);
  const length = tensorBytes(weight.dtype, weight.shape);
  if (elementCount(weight.shape) !== 1 || codec?.blockElements !== 1 || !location || length === undefined) {
    return undefined;
  }
  await using source = await store.blobs.open(location.blob);
  const value = new Float32Array(1);
  codec.decode(await source.read(location.offset, length), value);
  return value[0];
}

/** Checks that each alpha has its matrices. */
function checkAlphas(adapter: string, alphas: ReadonlyMap<string, number>, modules: readonly string[]): void {
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
