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
  /** Rules that change names; the first rule that matches a name applies. */
  readonly rename?: readonly RenameRule[] | undefined;
  /** Tensors to leave out: `*` stands for any characters. The result lists them. */
  readonly skip?: readonly string[] | undefined;
  /** Formats that may be written; all formats of tare unless given. */
  readonly formats?: FormatRegistry | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of a conversion. */
export interface ConvertResult {
  readonly path: string;
  readonly weights: number;
  /** Size of all files, in bytes. */
  readonly size: number;
  /** Tensors of the source that were left out, as asked for. */
  readonly skipped: readonly SkippedTensor[];
  /** What people should know about how the source was read, in sentences. */
  readonly notes: readonly string[];
}

/**
 * Writes weights in another container format. The extension of the path selects a file format (.safetensors, .gguf,
 * .irpa, .params, .ptd, .pt, .pth, .npz, .npy); the names tensor-cache.json and ndarray-cache.json select a new folder
 * with this file as its index. Dtypes and shapes stay the same; names too, unless a rule changes them. Streams the
 * weights in bounded memory. Tensors that their file has in another form (compressed, big-endian, column-major, strided views)
 * become plain ones; `skip` leaves tensors out, and nothing else does. The result appears under its name only once it is complete.
 * @param data weights of a stored model, of files, of a URL or of memory
 * @throws FormatError `unsupported` or `bad-name` with the tensor that cannot be read, or that the format cannot hold; UsageError for an unknown
 * extension; LinkError `duplicate` for two weights of one name; SourceError `exists`, `source-changed`
 */
export async function convertWeights(
  data: WeightSource,
  path: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  const { formats = FORMATS } = options;
  const layOut = await formats.loadLayOut(path);
  if (!layOut) {
    throw new UsageError("usage", `Cannot choose a format for "${path}": its extension is unknown`, {
      path,
      hint: `Use one of these extensions or names: ${formats.writtenFiles.join(", ")}`,
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
      throw new LinkError("missing-weight", `Cannot convert "${data.name}": it no longer has "${key}"`, {
        tensor: key,
      });
    const name = renamed(key, rules);
    // JSON names can have lone surrogates, and UTF-8 encodes all of them as the same character.
    if (/\p{Surrogate}/u.test(name)) {
      throw new FormatError(
        "bad-name",
        `Cannot convert "${data.name}": the name "${name}" is not valid Unicode`,
        {
          tensor: key,
        },
      );
    }
    const other = taken.get(name);
    if (other !== undefined) {
      throw new LinkError(
        "duplicate",
        `Cannot convert "${data.name}": "${other}" and "${key}" would both have the name "${name}"`,
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
