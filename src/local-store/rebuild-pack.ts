import { createHash } from "node:crypto";
import { type ByteSource, memorySource } from "../io/byte-source.ts";
import { rangeOf } from "../io/stream.ts";
import type { Location } from "../model/manifest.ts";
import { openFileSource } from "../node/file-source.ts";
import type { BlobRef } from "../store/store.ts";
import type { Digest } from "../tensor/digest.ts";
import type { LocalStore } from "./local-store.ts";

/** A range of a file that should have the bytes of a weight. */
export interface PlacedWeight {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * Makes a damaged or missing bundle or shard again: its own weights where they are intact, other copies where not, and its own
 * bytes between them, or zeros if it is missing. Has no effect if the result does not have its digest.
 * @param inside the weights of the pack with their locations
 * @param copies places of weights elsewhere
 */
export async function rebuildPack(
  store: LocalStore,
  { digest, size }: BlobRef,
  inside: readonly (readonly [Digest, Location])[],
  copies: ReadonlyMap<Digest, PlacedWeight>,
  signal?: AbortSignal,
): Promise<void> {
  const path = store.blobPath(digest);
  const pieces: PlacedWeight[] = [];
  for (const [weight, { offset, length }] of inside) {
    const own = { path: store.blobPath(weight), offset: 0, length };
    const places = [{ path, offset, length }, own, copies.get(weight)];
    const intact = await firstIntact(places, weight, signal);
    if (!intact) return;
    pieces.push(intact);
  }
  const order = inside.map(([, { offset }], index) => ({ offset, piece: pieces[index] as PlacedWeight }));
  order.sort((a, b) => a.offset - b.offset);
  await using staged = await store.blobs.stage(joined(path, size, order, signal), { signal });
  if (staged.digest === digest) await staged.commit(digest);
}

async function firstIntact(
  places: readonly (PlacedWeight | undefined)[],
  digest: Digest,
  signal: AbortSignal | undefined,
): Promise<PlacedWeight | undefined> {
  for (const place of places) {
    if (!place) continue;
    const hash = createHash("sha256");
    try {
      for await (const chunk of readRange(place.path, place.offset, place.length, signal)) hash.update(chunk);
    } catch {
      signal?.throwIfAborted();
      continue;
    }
    if (`sha256:${hash.digest("hex")}` === digest) return place;
  }
  return undefined;
}

/** Yields the bytes of a pack: its weights, and between them its own bytes. */
async function* joined(
  path: string,
  size: number,
  order: readonly { readonly offset: number; readonly piece: PlacedWeight }[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = 0;
  for (const { offset, piece } of order) {
    if (offset < at) continue;
    yield* gap(path, at, offset, signal);
    yield* readRange(piece.path, piece.offset, piece.length, signal);
    at = offset + piece.length;
  }
  yield* gap(path, at, size, signal);
}

async function* gap(
  path: string,
  begin: number,
  end: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const own = await openFileSource(path).catch(() => undefined);
  try {
    const has = own !== undefined && own.size >= end;
    const source: ByteSource = has ? own : memorySource(new Uint8Array(end - begin), path);
    yield* rangeOf(source, has ? begin : 0, end - begin, { signal });
  } finally {
    await own?.[Symbol.asyncDispose]();
  }
}

async function* readRange(
  path: string,
  offset: number,
  length: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using source = await openFileSource(path);
  yield* rangeOf(source, offset, length, { signal });
}
