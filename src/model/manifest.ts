import * as v from "valibot";
import { digestSchema, parseShape, sizeSchema } from "./config.ts";
import type { Digest } from "../tensor/digest.ts";

/** Media types of a model in an OCI image layout or registry. */
export const MediaType = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  /** `artifactType` of a manifest that is a model. */
  model: "application/vnd.tare.model.v1",
  config: "application/vnd.tare.model.config.v1+json",
  /** The skeleton of a file. */
  skeleton: "application/vnd.tare.rest.v1",
  /** One weight, whose digest is that of the blob. */
  weight: "application/vnd.tare.weight.v1",
  /** Several small weights, listed in {@link MediaType.locations}. */
  bundle: "application/vnd.tare.pack.v1",
  /** A file of weights that an engine opens directly; the weights are listed in {@link MediaType.locations}. */
  shard: "application/vnd.tare.shard.v1",
  /** Locations of weights inside bundles and shards. */
  locations: "application/vnd.tare.locations.v1+json",
} as const;

/**
 * Annotation of a manifest in `index.json` that makes it a tag (OCI image layout, "ref.name"). The manifest itself has it too.
 */
export const REF_NAME = "org.opencontainers.image.ref.name";

/** Annotation of a shard's layer: a digest of its weights and their offsets, which identifies the shard. */
export const SHARD_LAYOUT = "dev.tare.shard.layout";

/** An OCI content descriptor. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Size in bytes. */
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An OCI image manifest. */
export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** {@link REF_NAME} has the name of a model, from which a lost `index.json` is made again. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An OCI image index; `index.json` is one. */
export interface ImageIndex {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

const annotations = v.exactOptional(v.record(v.string(), v.string()));
const descriptor: v.GenericSchema<Descriptor> = v.looseObject({
  mediaType: v.string(),
  digest: digestSchema,
  size: sizeSchema,
  artifactType: v.exactOptional(v.string()),
  annotations,
});
const manifest: v.GenericSchema<Manifest> = v.looseObject({
  schemaVersion: v.literal(2),
  mediaType: v.exactOptional(v.string()),
  artifactType: v.exactOptional(v.string()),
  config: descriptor,
  layers: v.array(descriptor),
  annotations,
});
const index: v.GenericSchema<ImageIndex> = v.looseObject({
  schemaVersion: v.literal(2),
  mediaType: v.exactOptional(v.string()),
  manifests: v.array(descriptor),
  annotations,
});
const locations = v.object({
  weights: v.array(
    v.object({ digest: digestSchema, blob: digestSchema, offset: sizeSchema, length: sizeSchema }),
  ),
});

/** The range of a blob that contains a weight. */
export interface Location {
  readonly blob: Digest;
  /** Offset in bytes. */
  readonly offset: number;
  /** Length in bytes. */
  readonly length: number;
}

/** Parses a manifest from a store or registry. */
export function parseManifest(value: unknown, name: string): Manifest {
  return parseShape(manifest, value, name);
}

/** Parses an image index. */
export function parseIndex(value: unknown, name: string): ImageIndex {
  return parseShape(index, value, name);
}

/** Parses a locations blob. */
export function parseLocations(value: unknown, name: string): Map<Digest, Location> {
  const { weights } = parseShape(locations, value, name);
  return new Map(weights.map(({ digest, blob, offset, length }) => [digest, { blob, offset, length }]));
}

/** Encodes JSON without white space, in the order of keys: digests of documents are of these bytes. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
