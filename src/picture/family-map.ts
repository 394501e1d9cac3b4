/** The data of {@link drawFamilySvg} and {@link drawFamilyHtml}: models and their weights, without bytes. */
export interface FamilyMap {
  readonly models: readonly MapModel[];
  /**
   * Size in bytes of the blobs of these models, programs included. Without it, the picture counts each weight once, and
   * notes that programs are not counted.
   */
  readonly storedBytes?: number | undefined;
}

/** One row of the picture. */
export interface MapModel {
  readonly name: string;
  /** Size of its original files in bytes. */
  readonly fileBytes: number;
  readonly weights: readonly MapWeight[];
}

/** A weight of a model. */
export interface MapWeight {
  /** Unique name in its model, with the method as prefix: `decoder/blk.0.attn_q.weight`. */
  readonly name: string;
  /** Two weights are the same if and only if their digests are. */
  readonly digest: string;
  readonly bytes: number;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/**
 * The models that have the bytes of a weight: all models of the family (the foundation), some of them, or one.
 * `variant` is a second version of a weight, if different groups of models share different versions.
 */
export type Sharing = "all" | "some" | "variant" | "own";

/** All values of {@link Sharing}, in the order of bars and legends. */
export const SHARINGS: readonly Sharing[] = ["all", "some", "variant", "own"];
