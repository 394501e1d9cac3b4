import { LinkError } from "../errors.ts";
import { linkOnnx, openOnnxProgram } from "./onnx-program.ts";
import { planLink } from "../model/plan.ts";
import type { StoredFile } from "../model/config.ts";
import { type Digest, digestHex } from "../tensor/digest.ts";
import { companionsOf, type StoredModel } from "../model/stored-model.ts";
import { type LinkedFile, type ViewOptions, type ViewResult, writeView, type WrittenFile } from "./view.ts";
import { withGgufView } from "./gguf-view.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { readModel } from "../store/read-model.ts";
import { withModel } from "../store/with-model.ts";
import { readBlob } from "../store/read-blob.ts";
import { requireModel } from "../store/require-model.ts";

/**
 * Writes a folder that engines open without tare: programs (for llama.cpp, shards), and links to the weights.
 * @throws SourceError `exists`; LinkError `unsupported` for formats that contain their weights
 */
export async function link(
  store: LocalStore,
  name: string,
  path: string,
  options: ViewOptions = {},
): Promise<ViewResult> {
  const { format } = (await readModel(store, name)).config;
  if (format === "gguf") {
    return withGgufView(store, name, async (view) => {
      await requireModel(store, await readModel(store, name));
      return writeView(path, view.links, view.written, options);
    });
  }
  if (format === "onnx") {
    return withModel(store, name, (model) => linkOnnxModel(store, model, path, options));
  }
  throw new LinkError(
    "unsupported",
    `Cannot link "${name}": ${format} files contain their weights, so that a link would be a copy`,
    { hint: `Write its files with: tare export ${name}` },
  );
}

async function linkOnnxModel(
  store: LocalStore,
  model: StoredModel,
  path: string,
  options: ViewOptions,
): Promise<ViewResult> {
  await requireModel(store, model);
  const written: WrittenFile[] = [];
  const links = new Map<Digest, LinkedFile>();
  for (const method of model.config.methods) {
    const plan = planLink(model, method, (blob) => `weights/${digestHex(blob)}`);
    const program = await openOnnxProgram(store, model, method, plan);
    written.push({ path: (model.config.files[method.file] as StoredFile).path, bytes: linkOnnx(program) });
    for (const weight of method.weights) {
      const { blob } = model.locations.get(weight.digest) ?? { blob: weight.digest };
      links.set(blob, { path: `weights/${digestHex(blob)}`, blob: store.blobPath(blob) });
    }
  }
  for (const file of companionsOf(model)) {
    written.push({ path: file.path, bytes: await readBlob(store, file.skeleton) });
  }
  return writeView(path, [...links.values()], written, options);
}
