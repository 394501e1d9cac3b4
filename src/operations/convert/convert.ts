import { dirname } from "node:path";
import type { WeightSource } from "../../weights/weight-source.ts";
import { FormatError, LinkError, UsageError } from "../../errors.ts";
import type { FormatRegistry } from "../../formats/create-registry.ts";
import type { FileLayout, WeightSpec } from "../../formats/lay-out.ts";
import { FORMATS } from "../../formats/registry.ts";
import type { FileChunk } from "../../node/write-chunks.ts";
import { writeFolder } from "../../node/write-folder.ts";
import { writeNewFile } from "../../node/write-new-file.ts";
import { CHECKSUMS } from "./checksums.ts";
import { chooseTensors, type SkippedTensor } from "./choose-tensors.ts";
import { chunksOf } from "./layout.ts";
import { type RenameRule, renamed } from "./rename.ts";
import type { Progress } from "../../io/progress.ts";

/** Options of {@link convertWeights}. */
export interface ConvertOptions {
  /** How names change; the first rule that takes one counts. */
  readonly rename?: readonly RenameRule[] | undefined;
  /** Tensors to leave out: `*` stands for any characters. The result lists them. */
  readonly skip?: readonly string[] | undefined;
  /** Containers to write; tare's own unless given. */
  readonly formats?: FormatRegistry | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a conversion wrote. */
export interface ConvertResult {
  readonly path: string;
  readonly weights: number;
  /** Of all files, in bytes. */
  readonly size: number;
  /** Tensors of the source that were left out, as asked for. */
  readonly skipped: readonly SkippedTensor[];
  /** What people should know about how the source was read, in sentences. */
  readonly notes: readonly string[];
}

/**
 * Writes weights as another container: one file, by its ending (.safetensors, .gguf, .irpa, .params, .ptd, .pt, .pth,
 * .npz, .npy), or a new folder, by the name of the file that lists the others (tensor-cache.json, ndarray-cache.json).
 * Names as they are or by rules, dtypes and shapes exactly; streamed, in bounded memory. Tensors that their file has in
 * another form (compressed, big-endian, column-major, views with strides) become plain ones. Nothing appears before all is
 * there, and nothing is left out unless the caller asks for it.
 * @param data weights of a store's model, of files, of a URL, of memory
 * @throws FormatError `unsupported` with the tensor that cannot be read, or that the container cannot hold; `bad-name`; UsageError for an
 * ending that none has; LinkError `duplicate` for two weights of one name; SourceError `exists`, `source-changed`
 */
export async function convertWeights(
  data: WeightSource,
  path: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  const { formats = FORMATS } = options;
  const layOut = await formats.loadLayOut(path);
  if (!layOut) {
    throw new UsageError("usage", `Cannot tell what "${path}" is to be`, {
      path,
      hint: `Its name ends in, or is, one of ${formats.writtenFiles.join(", ")}`,
    });
  }
  const { keys, skipped } = chooseTensors(data, options.skip ?? []);
  const weights = specsOf(data, keys, options.rename ?? []);
  const laidOut = layOut(weights, path, CHECKSUMS);
  const files = "files" in laidOut ? laidOut.files : [{ name: path, layout: laidOut }];
  const size = files.reduce((sum, { layout }) => sum + layout.size, 0);
  let done = 0;
  const { signal, onProgress } = options;
  const onBytes = (bytes: number): void => onProgress?.({ done: (done += bytes), total: size });
  const chunks = (layout: FileLayout): AsyncIterable<FileChunk> =>
    chunksOf(data, layout, { signal, onBytes });
  if (!("files" in laidOut)) await writeNewFile(path, chunks(laidOut));
  else {
    const streams = files.map(({ name, layout }) => ({ name, chunks: chunks(layout) }));
    await writeFolder(dirname(path), streams, "convert into", async () => {});
  }
  return { path, weights: weights.length, size, skipped, notes: data.notes ?? [] };
}

function specsOf(data: WeightSource, keys: readonly string[], rules: readonly RenameRule[]): WeightSpec[] {
  const taken = new Map<string, string>();
  return keys.map((key) => {
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
