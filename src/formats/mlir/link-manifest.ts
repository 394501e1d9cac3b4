import * as v from "valibot";
import { parseStrictJson } from "../../encodings/json.ts";
import { digestSchema, parseShape, sizeSchema } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import { LINK_FILE_GROUP, LINK_FILE_KEY, LINK_GROUP } from "./schema.ts";

/** The place of a detached weight's bytes, as recorded in its thin file. */
export interface MlirLinkedWeight {
  /** In bytes. */
  readonly length: number;
  readonly alignment: number;
  /** Known if the bytes were hashed: always for weights of a store. */
  readonly digest?: Digest;
  /**
   * Their place in {@link MlirLinkedFile.path}; `hex` if they are hexadecimal text, `key` if their name differs there.
   */
  readonly at?: { readonly offset: number; readonly hex?: true; readonly key?: string };
}

/** The origin of a thin file's weights. */
export interface MlirLinkedFile {
  readonly version: 1;
  /** Producer and bytecode version of the detached file; absent for text. */
  readonly producer?: string;
  readonly bytecode?: number;
  /** Name of the store's model with the weights. */
  readonly model?: string;
  /** Absolute path of the file that still has the weights. */
  readonly path?: string;
  /** Size of that file, in bytes. */
  readonly size?: number;
  /** Modification time of that file, in milliseconds. */
  readonly modified?: number;
}

/** The manifest inside a thin file. */
export interface LinkManifest {
  readonly file: MlirLinkedFile;
  readonly weights: ReadonlyMap<string, MlirLinkedWeight>;
}

const weightSchema: v.GenericSchema<MlirLinkedWeight> = v.object({
  length: sizeSchema,
  alignment: v.pipe(
    sizeSchema,
    v.check((value) => Number.isInteger(Math.log2(value)) && value <= 2 ** 21, "no alignment"),
  ),
  digest: v.exactOptional(digestSchema),
  at: v.exactOptional(
    v.object({
      offset: sizeSchema,
      hex: v.exactOptional(v.literal(true)),
      key: v.exactOptional(v.string()),
    }),
  ),
});
const fileSchema: v.GenericSchema<MlirLinkedFile> = v.object({
  version: v.literal(1),
  producer: v.exactOptional(v.string()),
  bytecode: v.exactOptional(sizeSchema),
  model: v.exactOptional(v.string()),
  path: v.exactOptional(v.string()),
  size: v.exactOptional(sizeSchema),
  modified: v.exactOptional(v.number()),
});

/** Strings of a group of external resources, by key. */
export type StringGroup = readonly (readonly [key: string, text: string])[];

/** Encodes a manifest as external resources, in the order in which they are written. */
export function encodeLinkManifest(manifest: LinkManifest): (readonly [group: string, StringGroup])[] {
  const weights = [...manifest.weights].map(([key, weight]) => [key, encodeJson(weight)] as const);
  return [
    [LINK_GROUP, weights],
    [LINK_FILE_GROUP, [[LINK_FILE_KEY, encodeJson(manifest.file)]]],
  ];
}

/** Whether an external group is one of a manifest's. */
export function isLinkGroup(name: string): boolean {
  return name === LINK_GROUP || name === LINK_FILE_GROUP;
}

/**
 * Parses a manifest from a file's external resources, which may have gone through many passes of a compiler.
 * @param groupOf gives the strings of a group; `undefined` if the file has no such group
 * @returns `undefined` for a file without a manifest
 * @throws FormatError `malformed`, `newer-version`
 */
export function parseLinkManifest(
  groupOf: (name: string) => StringGroup | undefined,
  path: string,
): LinkManifest | undefined {
  const weights = groupOf(LINK_GROUP);
  const file = groupOf(LINK_FILE_GROUP)?.find(([key]) => key === LINK_FILE_KEY);
  if (!weights || !file) return undefined;
  const read = <T>(schema: v.GenericSchema<T>, key: string, text: string): T => {
    const name = `${path} (external resource ${key})`;
    return parseShape(schema, parseStrictJson(text, name), name);
  };
  return {
    file: read(fileSchema, LINK_FILE_GROUP, file[1]),
    weights: new Map(weights.map(([key, text]) => [key, read(weightSchema, key, text)])),
  };
}

/** Encodes JSON as ASCII, which every printer of strings preserves. */
function encodeJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
