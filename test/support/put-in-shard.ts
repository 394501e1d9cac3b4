import { repack } from "../../src/local-store/repack.ts";
import type { Location } from "../../src/model/manifest.ts";
import { modelWeights } from "../../src/model/stored-model.ts";
import { readModel } from "../../src/store/read-model.ts";
import type { TareStore } from "../../src/tare-store.ts";
import type { Digest } from "../../src/tensor/digest.ts";

/** Moves all weights of a model into one shard. @returns its digest */
export async function putInShard(store: TareStore, name: string): Promise<Digest> {
  const model = await readModel(store, name);
  const digests = [...new Set(modelWeights(model.config).map(({ digest }) => digest))];
  const header = new Uint8Array(64).fill(7);
  const offsets: number[] = [];
  let size = header.byteLength;
  const weights = digests.map((digest) => {
    const from = model.locations.get(digest) as Location;
    offsets.push(size);
    size += Math.ceil(from.length / 64) * 64;
    return { digest, from };
  });
  const [shard] = (await repack(store, [{ header, offsets, size, weights }], [{ model, shards: [0] }])) ?? [];
  return shard as Digest;
}
