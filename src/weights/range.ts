import { type ByteSource, sliceSource } from "../io/byte-source.ts";
import { decodedSource } from "../io/decoded-source.ts";
import { FormatError } from "../errors.ts";
import type { VarintArray } from "../io/varint-array.ts";
import { layoutBytes, formatLayout } from "../tensor/tensor-layout.ts";
import { noSuchWeight, weightBytes, type WeightLayout, type WeightSource } from "./weight-source.ts";

/** A weight in a range of a source. */
export interface WeightPlace {
  readonly key: string;
  readonly layout: Omit<WeightLayout, "length">;
  /** Path of the source, for errors. */
  readonly path: string;
  /** Offset in the source, in bytes. */
  readonly offset: number;
  /** Length in the source, in bytes; for an encoded weight it is not the weight's size. */
  readonly length: number;
  /** Set if the range is encoded as varints. */
  readonly varint?: VarintArray | undefined;
  /** Whether the range is encoded as two hexadecimal digits for each byte. */
  readonly hex?: boolean | undefined;
  /** A source that the caller closes, or a function that opens a source for one read of the weight. */
  readonly source: ByteSource | (() => Promise<ByteSource & AsyncDisposable>);
  /** Whether the weight can be opened but is not listed in the keys. */
  readonly unlisted?: boolean | undefined;
}

interface Place extends WeightPlace {
  readonly layout: WeightLayout;
}

/**
 * Makes a source of weights that are ranges of byte sources.
 * @throws FormatError `size-mismatch`, `duplicate`
 */
export function rangeWeights(name: string, places: Iterable<WeightPlace>): WeightSource {
  const table = new Map<string, Place>();
  for (const place of places) {
    const layout = { ...place.layout, length: lengthOf(place) };
    if (table.has(place.key)) throw refusal(place, "duplicate", "two tensors have that name");
    table.set(place.key, { ...place, layout });
  }
  const keys = [...table.values()].filter(({ unlisted }) => !unlisted).map(({ key }) => key);
  return {
    name,
    keys: () => keys,
    layout: (key) => table.get(key)?.layout,
    async open(key) {
      const place = table.get(key);
      if (!place) throw noSuchWeight({ name }, key);
      if (typeof place.source !== "function") return weightBytes(bytesOf(place, place.source));
      const opened = await place.source();
      const close = async (): Promise<void> => opened[Symbol.asyncDispose]();
      try {
        return weightBytes(bytesOf(place, opened), close);
      } catch (error) {
        await close();
        throw error;
      }
    },
  };
}

/** Makes a source of the weight's decoded bytes. */
function bytesOf(place: Place, parent: ByteSource): ByteSource {
  const { offset, length, layout, varint } = place;
  const source = sliceSource(parent, offset, length);
  if (!isEncoded(place)) return source;
  const wrongSize = (found: number | "more"): FormatError => wrongLength(place, layout.length, found);
  return decodedSource({ source, varint, size: layout.length, offset, wrongSize });
}

function isEncoded({ varint, hex = false }: WeightPlace): boolean {
  return varint !== undefined || hex;
}

/** Returns the size of the decoded weight in bytes. */
function lengthOf(place: WeightPlace): number {
  const expected = layoutBytes(place.layout);
  if (expected === undefined) {
    throw refusal(place, "size-mismatch", `no tensor has the layout ${formatLayout(place.layout)}`);
  }
  if (!isEncoded(place) && place.length !== expected) throw wrongLength(place, expected, place.length);
  return expected;
}

function wrongLength(place: WeightPlace, expected: number, found: number | "more"): FormatError {
  const reason = `${formatLayout(place.layout)} takes ${expected} bytes, its data has ${found}`;
  return refusal(place, "size-mismatch", reason);
}

function refusal(
  { key, path, offset }: WeightPlace,
  code: "size-mismatch" | "duplicate",
  reason: string,
): FormatError {
  return new FormatError(code, `Cannot read tensor "${key}" of "${path}": ${reason}`, {
    path,
    tensor: key,
    offset,
  });
}
