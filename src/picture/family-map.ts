/** What {@link drawFamilySvg} and {@link drawFamilyHtml} draw: models and their weights, nothing of the bytes. */
export interface FamilyMap {
  readonly models: readonly MapModel[];
  /**
   * Bytes the store holds for these models, programs included.
   * Without it the picture counts each weight once, and says that programs are not counted.
   */
  readonly storedBytes?: number | undefined;
}

/** One row of the picture. */
export interface MapModel {
  readonly name: string;
  /** Bytes of its original files. */
  readonly fileBytes: number;
  readonly weights: readonly MapWeight[];
}

/** A weight of a model. */
export interface MapWeight {
  /** Unique in its model, with the method in front: `decoder/blk.0.attn_q.weight`. */
  readonly name: string;
  /** Two weights are the same if and only if their digests are. */
  readonly digest: string;
  readonly bytes: number;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/**
 * Who has the bytes of a weight: every model of the family (the foundation), some of them, or one.
 * `variant` is a further version of a weight of which some models share one and some another.
 */
export type Sharing = "all" | "some" | "variant" | "own";

/** Every {@link Sharing}, in the order in which pictures stack and list them. */
export const SHARINGS: readonly Sharing[] = ["all", "some", "variant", "own"];
