import * as v from "valibot";
import { parseStrictJson } from "../../encodings/json.ts";
import { digestSchema, parseShape, sizeSchema } from "../../model/config.ts";
import type { Digest } from "../../tensor/digest.ts";
import { LINK_FILE_GROUP, LINK_FILE_KEY, LINK_GROUP } from "./schema.ts";

/** Where the bytes of a detached weight are, as its thin file says. */
export interface MlirLinkedWeight {
  /** In bytes. */
  readonly length: number;
  readonly alignment: number;
  /** Known where the bytes were hashed: always for those of a store. */
  readonly digest?: Digest;
  /** Where in {@link MlirLinkedFile.path} they lie; `hex` where they are spelled as text, `key` where they have another there. */
  readonly at?: { readonly offset: number; readonly hex?: true; readonly key?: string };
}

/** What the weights of a thin file are of. */
export interface MlirLinkedFile {
  readonly version: 1;
  /** Who wrote the file that was detached, and in which version of bytecode; absent for text. */
  readonly producer?: string;
  readonly bytecode?: number;
  /** Name in the store of what has the weights. */
  readonly model?: string;
  /** The file where the weights lie still: absolute. */
  readonly path?: string;
  /** Of that file, in bytes. */
  readonly size?: number;
  /** Of that file, in milliseconds. */
  readonly modified?: number;
}

/** What travels inside a thin file. */
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

/** The external resources that a manifest travels as, in the order in which they are written. */
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
 * Checks what a file's external resources say, which compilers may have carried through many passes.
 * @param groupOf the strings of a group; `undefined` if the file has none of that name
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

/** As ASCII, which every printer of strings gives back as it was. */
function encodeJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
