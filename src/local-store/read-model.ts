import { StoreError } from "../errors.ts";
import { parseConfig } from "../model/config.ts";
import type { Digest } from "../tensor/digest.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { type Location, MediaType, parseLocations, parseManifest } from "../model/manifest.ts";
import { modelWeights, type StoredModel } from "../model/stored-model.ts";
import { readJsonBlob } from "./blobs.ts";
import type { StorePaths } from "./store-paths.ts";

/**
 * Reads a model's manifest, config and locations, each checked against its digest, and checks that they agree.
 * @throws StoreError `missing-blob`, `corrupted`; FormatError `malformed`, `newer-version`
 */
export async function readStoredModel(
  layout: StorePaths,
  name: string,
  digest: Digest,
): Promise<StoredModel> {
  const manifest = parseManifest(await readJsonBlob(layout, digest), `manifest of "${name}"`);
  const config = parseConfig(await readJsonBlob(layout, manifest.config.digest), `config of "${name}"`);
  const sizes = new Map(manifest.layers.map((layer) => [layer.digest, layer.size]));
  const locations = new Map<Digest, Location>();
  for (const layer of manifest.layers) {
    if (layer.mediaType === MediaType.weight) {
      locations.set(layer.digest, { blob: layer.digest, offset: 0, length: layer.size });
    } else if (layer.mediaType === MediaType.locations) {
      const table = parseLocations(await readJsonBlob(layout, layer.digest), `locations of "${name}"`);
      for (const [weight, location] of table) locations.set(weight, location);
    }
  }
  for (const weight of modelWeights(config)) {
    const location = locations.get(weight.digest);
    const size = location && sizes.get(location.blob);
    const bytes = tensorBytes(weight.dtype, weight.shape);
    if (
      !location ||
      size === undefined ||
      location.length !== bytes ||
      location.offset > size - location.length
    ) {
      throw new StoreError(
        "corrupted",
        `Cannot read model "${name}": weight "${weight.name}" has no place in its blobs`,
        {
          path: layout.blob(digest),
          tensor: weight.name,
          digest: weight.digest,
          offset: location?.offset,
          hint: "the manifest is damaged; add the model's files again",
        },
      );
    }
  }
  return { name, digest, manifest, config, locations };
}
