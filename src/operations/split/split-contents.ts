import { LinkError, UsageError } from "../../errors.ts";
import { splitGguf } from "./split-gguf.ts";
import { fileNameOf, type SplitLayout, type SplitTextFile } from "./split-layout.ts";
import { splitOnnx } from "./split-onnx.ts";
import type { SplitPlan } from "./split-plan.ts";
import { splitSafetensors } from "./split-safetensors.ts";
import { type Digest, digestHex } from "../../tensor/digest.ts";
import { companionsOf, type StoredModel } from "../../model/stored-model.ts";
import { sha256 } from "../../node/sha256.ts";
import { headerOf } from "../../link/gguf-view.ts";
import type { LocalStore } from "../../local-store/local-store.ts";
import { readBlob } from "../../store/read-blob.ts";

/** Lays out the files of a plan in one format. */
type LayOut = (store: LocalStore, models: readonly StoredModel[], plan: SplitPlan) => Promise<SplitLayout>;

const LAYOUTS: Readonly<Record<string, LayOut>> = {
  gguf: async (store, models, plan) => {
    const headers = await Promise.all(models.map((model) => headerOf(store, model)));
    return splitGguf(models, plan, headers);
  },
  onnx: splitOnnx,
  safetensors: async (_, models, plan) => splitSafetensors(models, plan),
};

/**
 * Checks that models can be split together, and returns their format.
 * @throws LinkError `mismatch`, `unsupported`; UsageError for no models
 */
export function splitFormat(models: readonly StoredModel[]): string {
  const [first] = models;
  if (!first)
    throw new UsageError("usage", "Cannot split without a model", {
      hint: "Give one or more models of the store",
    });
  const { format } = first.config;
  const other = models.find((model) => model.config.format !== format);
  if (other) {
    const reason = `"${first.name}" is ${format}, "${other.name}" ${other.config.format}`;
    throw new LinkError("mismatch", `Cannot split models of several formats: ${reason}`);
  }
  if (!Object.hasOwn(LAYOUTS, format)) {
    throw new LinkError("unsupported", `Cannot split "${first.name}": tare cannot split ${format} models`, {
      hint: `Split models of ${Object.keys(LAYOUTS).join(", ")}`,
    });
  }
  const several = models.find((model) => format === "gguf" && model.config.methods.length > 1);
  if (several) {
    throw new LinkError("unsupported", `Cannot split "${several.name}": it has several GGUF models`, {
      hint: "Add each file as a model: tare add FILE...",
    });
  }
  return format;
}

/**
 * Lays out all files of a split.
 * @returns `layout`: the files that engines need; `originals`: the other files that `joinSplit` needs
 * @throws LinkError `bad-name` for two files of one path
 */
export async function layOutSplit(
  store: LocalStore,
  format: string,
  models: readonly StoredModel[],
  plan: SplitPlan,
): Promise<{ readonly layout: SplitLayout; readonly originals: readonly SplitTextFile[] }> {
  const base = await (LAYOUTS[format] as LayOut)(store, models, plan);
  const layout = { ...base, written: [...base.written, ...(await companionFiles(store, models))] };
  const originals = await originalFiles(store, models, layout.written);
  requireDistinct([...layout.weightFiles, ...layout.written, ...layout.links, ...originals]);
  return { layout, originals };
}

/** Reads the companions of the models, such as tokenizers, settings and licences. */
async function companionFiles(store: LocalStore, models: readonly StoredModel[]): Promise<SplitTextFile[]> {
  const files: SplitTextFile[] = [];
  for (const model of models) {
    for (const { path, skeleton } of companionsOf(model)) {
      // Skip shards without a tensor, and the index of the original shards: the split does not have these shards.
      if (/\.gguf$|\.safetensors(\.index\.json)?$/.test(path)) continue;
      const bytes = await readBlob(store, skeleton);
      files.push({ path: `${fileNameOf(model)}/${path}`, models: [model.name], bytes });
    }
  }
  return files;
}

/** Reads the skeletons of the original files, without those that the split already has. */
async function originalFiles(
  store: LocalStore,
  models: readonly StoredModel[],
  written: readonly SplitTextFile[],
): Promise<SplitTextFile[]> {
  const there = new Set(written.map(({ bytes }) => sha256(bytes)));
  const users = new Map<Digest, string[]>();
  for (const { name, config } of models) {
    for (const { skeleton } of config.files) {
      if (!there.has(skeleton)) users.set(skeleton, [...new Set([...(users.get(skeleton) ?? []), name])]);
    }
  }
  return Promise.all(
    [...users].map(async ([digest, names]) => {
      return { path: `originals/${digestHex(digest)}`, models: names, bytes: await readBlob(store, digest) };
    }),
  );
}

function requireDistinct(files: readonly { readonly path: string }[]): void {
  const seen = new Set<string>();
  for (const { path } of files) {
    // Some file systems ignore case.
    if (seen.has(path.toLowerCase())) {
      throw new LinkError("bad-name", `Cannot split: two files would have the path "${path}"`, {
        path,
        hint: "Add a model under another name (--as)",
      });
    }
    seen.add(path.toLowerCase());
  }
}
