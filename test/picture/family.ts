import type { FamilyMap, MapModel, MapWeight } from "../../src/picture/family-map.ts";

/** A weight whose digest is `of`. */
export function weight(name: string, of: string, bytes = 1000): MapWeight {
  return { name, digest: `sha256:${of}`, bytes, dtype: "float32", shape: [bytes / 4] };
}

/** A model of weights written `name=digest`, 1000 bytes each, and files a tenth larger. */
export function model(name: string, ...weights: readonly string[]): MapModel {
  return {
    name,
    fileBytes: weights.length * 1100,
    weights: weights.map((text) => {
      const [left = "", right = ""] = text.split("=");
      return weight(left, right);
    }),
  };
}

/** A family of `models` models with `layers` layers of nine weights, of which `changed` says which a model trained. */
export function family(
  models: number,
  layers: number,
  changed: (model: number, layer: number, part: number) => boolean,
): FamilyMap {
  const parts = ["norm", "q", "k", "v", "o", "post_norm", "gate", "up", "down"];
  return {
    models: Array.from({ length: models }, (_, row) => {
      const weights = Array.from({ length: layers }, (_, layer) =>
        parts.map((part, index) => {
          const name = `model/model.layers.${layer}.${part}_proj.weight`;
          const own = changed(row, layer, index) ? `-${row}` : "";
          return weight(name, `${name}${own}`, 1000 * (index + 1));
        }),
      ).flat();
      return { name: `model-${row}`, fileBytes: weights.length * 5000, weights };
    }),
  };
}
