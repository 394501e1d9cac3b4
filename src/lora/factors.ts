import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Factor, LoraPair } from "./adapter.ts";
import { floatCodec, loraError } from "./lora-matrices.ts";
import { matrixShape } from "./matrix-shape.ts";
import type { Matrix } from "./product.ts";
import type { BlobReader } from "../store/store.ts";

/** Limit of the float32 values of all matrices of one weight, which are in memory: a vocabulary of 152,000 at rank 64 takes 39 MiB. */
const MAX_VALUES = 12 * 1024 * 1024;
/** Number of values of a matrix that are read at a time: a multiple of every block size. */
const CHUNK = 1024 * 1024;

/** A term that is added to a weight: scale × left × right. */
export interface LoraTerm {
  readonly left: Matrix;
  readonly right: Matrix;
  readonly scale: number;
}

/** A pair to load, with its orientation and scale. */
export interface TermPlan {
  readonly adapter: StoredModel;
  readonly pair: LoraPair;
  readonly transposed: boolean;
  /** Total scale of the product. */
  readonly scale: number;
}

/**
 * Loads the matrices of all terms of one weight as float32, in the orientation of the stored weight.
 * @throws LinkError `too-large`; `out-of-range` for values that are not finite
 */
export async function loadTerms(
  store: BlobReader,
  plans: readonly TermPlan[],
  options: ReadOptions,
): Promise<LoraTerm[]> {
  const values = plans.reduce((sum, { pair }) => sum + pair.rank * (pair.shape[0] + pair.shape[1]), 0);
  if (values > MAX_VALUES) {
    const reason = `its matrices for "${plans[0]?.pair.module}" have ${values} values, over ${MAX_VALUES}`;
    throw loraError("too-large", plans[0]?.adapter.name ?? "", reason, plans[0]?.pair.module);
  }
  const terms: LoraTerm[] = [];
  for (const { adapter, pair, transposed, scale } of plans) {
    const load = (factor: Factor): Promise<Matrix> => loadFactor(store, adapter, factor, transposed, options);
    // (left · right)ᵀ = rightᵀ · leftᵀ
    const [one, other] = [await load(pair.left), await load(pair.right)];
    terms.push(transposed ? { left: other, right: one, scale } : { left: one, right: other, scale });
  }
  return terms;
}

/** Reads a matrix in pieces, in the needed orientation. */
async function loadFactor(
  store: BlobReader,
  adapter: StoredModel,
  { weight, transposed }: Factor,
  turned: boolean,
  options: ReadOptions,
): Promise<Matrix> {
  const { name, dtype, shape, digest } = weight;
  const location = adapter.locations.get(digest);
  const codec = floatCodec(weight);
  if (!codec || !location || location.length !== tensorBytes(dtype, shape)) {
    const message = `Cannot read "${adapter.name}": weight "${name}" has no location in the manifest`;
    throw new LinkError("missing-weight", message, { tensor: name, digest });
  }
  const [rows, columns] = matrixShape(shape) as readonly [number, number];
  const turn = transposed !== turned;
  const values = new Float32Array(rows * columns);
  const most = Math.floor(CHUNK / codec.blockBytes) * codec.blockBytes;
  await using source = await store.blobs.open(location.blob);
  let at = 0;
  for (let read = 0; read < location.length; read += most) {
    const length = Math.min(most, location.length - read);
    const bytes = await source.read(location.offset + read, length, options);
    const some = new Float32Array((length / codec.blockBytes) * codec.blockElements);
    codec.decode(bytes, some);
    for (const value of some) {
      if (!Number.isFinite(value)) {
        throw loraError("out-of-range", adapter.name, `element ${at} of "${name}" is ${value}`, name);
      }
      values[turn ? (at % columns) * rows + Math.floor(at / columns) : at] = value;
      at++;
    }
  }
  return turn ? { rows: columns, columns: rows, values } : { rows, columns, values };
}
