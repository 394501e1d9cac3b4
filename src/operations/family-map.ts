import { weightBytes } from "../model/sharing.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import type { FamilyMap } from "../picture/family-map.ts";
import type { Store } from "../store/store.ts";
import { listModels, readModel } from "../store/read-model.ts";

/**
 * Lists which model has which weights, for a picture.
 * @param names names of the models; all models unless given
 */
export async function familyMap(store: Store, names?: readonly string[]): Promise<FamilyMap> {
  const models = names?.length
    ? await Promise.all(names.map((name) => readModel(store, name)))
    : await listModels(store);
  const blobs = new Map(
    models.flatMap((each) => manifestBlobs(each.manifest).map(({ digest, size }) => [digest, size])),
  );
  return {
    storedBytes: [...blobs.values()].reduce((sum, size) => sum + size, 0),
    models: models.map((model) => ({
      name: model.name,
      fileBytes: model.config.files.reduce((sum, file) => sum + file.size, 0),
      weights: model.config.methods.flatMap((method) =>
        method.weights.map((weight) => ({
          name: `${method.name}/${weight.name}`,
          digest: weight.digest,
          bytes: weightBytes(weight),
          dtype: weight.dtype,
          shape: weight.shape,
        })),
      ),
    })),
  };
}
