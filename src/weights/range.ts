import { type ByteSource, sliceSource } from "../io/byte-source.ts";
import { decodedSource } from "../io/decoded-source.ts";
import { FormatError } from "../errors.ts";
import type { VarintArray } from "../io/varint-array.ts";
import { layoutBytes, formatLayout } from "../tensor/tensor-layout.ts";
import { noSuchWeight, weightBytes, type WeightLayout, type WeightSource } from "./weight-source.ts";

/** A weight that is a range of a source. */
export interface WeightPlace {
  readonly key: string;
  readonly layout: Omit<WeightLayout, "length">;
  /** How errors name the source. */
  readonly path: string;
  /** In bytes from the start of the source. */
  readonly offset: number;
  /** Bytes in the source: more or less than the weight's where they are encoded. */
  readonly length: number;
  /** Set where the range is numbers of varying length. */
  readonly varint?: VarintArray | undefined;
  /** Whether the range is two hexadecimal digits for each byte. */
  readonly hex?: boolean | undefined;
  /** A source that the caller closes, or what opens one for one use. */
  readonly source: ByteSource | (() => Promise<ByteSource & AsyncDisposable>);
  /** Whether it is read by its name alone, and is not among the keys. */
  readonly unlisted?: boolean | undefined;
}

interface Place extends WeightPlace {
  readonly layout: WeightLayout;
}

/**
 * Weights that are ranges of sources, of any number and kind.
 * @throws FormatError `size-mismatch`, `duplicate`
 */
export function rangeWeights(name: string, places: Iterable<WeightPlace>): WeightSource {
  const table = new Map<string, Place>();
  for (const place of places) {
    const layout = { ...place.layout, length: lengthOf(place) };
    if (table.has(place.key)) throw refusal(place, "duplicate", "there are two of that name");
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

/** The weight's own bytes. */
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

/** Bytes of the weight itself. */
function lengthOf(place: WeightPlace): number {
  const expected = layoutBytes(place.layout);
  if (expected === undefined) {
    throw refusal(place, "size-mismatch", `no tensor can be ${formatLayout(place.layout)}`);
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
