import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError } from "../errors.ts";
import { readExactly } from "../io/stream.ts";
import { openWeight } from "./open-weight.ts";
import type { WeightSource } from "./weight-source.ts";

/** A weight in memory, until it is freed. Do not write into it. */
export interface FreeableData extends Disposable {
  /** @throws LinkError `released` after {@link free} */
  readonly bytes: Uint8Array;
  /** Drops the reference to the memory. A second call has no effect. */
  free(): void;
}

/**
 * Reads a complete weight; without a copy if the source has it in memory.
 * @throws LinkError `missing-weight`; SourceError `source-changed`
 */
export async function readWeight(
  source: WeightSource,
  key: string,
  options: ReadOptions = {},
): Promise<FreeableData> {
  await using bytes = await openWeight(source, key, options);
  const data = await readExactly(bytes, 0, bytes.size, options.signal);
  await bytes.file?.requireUnchanged();
  return freeable(key, data);
}

function freeable(key: string, bytes: Uint8Array): FreeableData {
  let held: Uint8Array | undefined = bytes;
  const free = (): void => {
    held = undefined;
  };
  return {
    get bytes() {
      if (held) return held;
      throw new LinkError("released", `Cannot use weight "${key}": it was freed`, { tensor: key });
    },
    free,
    [Symbol.dispose]: free,
  };
}
