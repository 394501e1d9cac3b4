import { extname } from "node:path";
import type { NamedData } from "../../compile/named-data/named-data.ts";
import { FormatError, LinkError, UsageError } from "../../errors.ts";
import type { Progress } from "../../node/progress.ts";
import { writeNewFile } from "../../node/write-new-file.ts";
import { chunksOf, type WeightSpec } from "./layout.ts";
import { WEIGHT_LAYOUTS } from "./layouts.ts";
import { type RenameRule, renamed } from "./rename.ts";

/** Options of {@link convertWeights}. */
export interface ConvertOptions {
  /** How names change; the first rule that takes one counts. */
  readonly rename?: readonly RenameRule[] | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a conversion wrote. */
export interface ConvertResult {
  readonly path: string;
  readonly weights: number;
  /** Of the file, in bytes. */
  readonly size: number;
}

/**
 * Writes weights as one file of another container, by its ending: .safetensors, .gguf, .irpa, .params, .ptd, .pt,
 * .pth, .npz or .npy. Names as they are or by rules, dtypes and shapes exactly; streamed, in bounded memory. Nothing appears
 * before all is there.
 * @param data weights of a store's model, of files, of a URL, of memory
 * @throws FormatError `unsupported` naming the weight that the container cannot hold; UsageError for an ending that
 * none has; LinkError `duplicate` for two weights of one name; SourceError `exists`, `source-changed`
 */
export async function convertWeights(
  data: NamedData,
  path: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  const layOut = WEIGHT_LAYOUTS[extname(path).toLowerCase()];
  if (!layOut) {
    throw new UsageError("usage", `Cannot tell what "${path}" is to be`, {
      path,
      hint: `end it in ${Object.keys(WEIGHT_LAYOUTS).join(", ")}`,
    });
  }
  const weights = specsOf(data, options.rename ?? []);
  const layout = layOut(weights, path);
  let done = 0;
  const { signal, onProgress } = options;
  const onBytes = (bytes: number): void => onProgress?.({ done: (done += bytes), total: layout.size });
  const size = await writeNewFile(path, chunksOf(data, layout, signal), { signal, onBytes });
  return { path, weights: weights.length, size };
}

function specsOf(data: NamedData, rules: readonly RenameRule[]): WeightSpec[] {
  const taken = new Map<string, string>();
  return data.keys().map((key) => {
    const layout = data.layout(key);
    if (!layout)
      throw new LinkError("missing-weight", `Cannot convert "${data.name}": it lost "${key}"`, {
        tensor: key,
      });
    const name = renamed(key, rules);
    // Half of a surrogate pair, which JSON can say, is the same sign as any other once it is UTF-8.
    if (/\p{Surrogate}/u.test(name)) {
      throw new FormatError(
        "bad-name",
        `Cannot convert "${data.name}": the name "${name}" is no Unicode text`,
        {
          tensor: key,
        },
      );
    }
    const other = taken.get(name);
    if (other !== undefined) {
      throw new LinkError(
        "duplicate",
        `Cannot convert "${data.name}": "${other}" and "${key}" would both be "${name}"`,
        {
          tensor: key,
        },
      );
    }
    taken.set(name, key);
    const { dtype, shape, length } = layout;
    return { key, name, dtype, shape, length };
  });
}
