import { stat } from "node:fs/promises";
import type { ReadOptions } from "../io/byte-source.ts";
import { LinkError, SourceError } from "../errors.ts";
import type { ModelDraft } from "../model/draft.ts";
import { fileError, isAbsent } from "../node/file-source.ts";
import { openModel } from "../node/open-model.ts";
import { readModel } from "../store/read-model.ts";
import type { Store } from "../store/store.ts";
import type { Tensors } from "../tensor/tensor.ts";
import { memoryWeights } from "./memory.ts";
import { allRefWeights } from "./ref-weights.ts";
import { openHttpModel } from "./open-http-model.ts";
import type { OpenedRef } from "./opened-ref.ts";
import { noSuchWeight, type WeightSource } from "./weight-source.ts";

/**
 * A reference to weights. A string is a model of the store, else a file or folder in any format, else an `https:` URL,
 * else one weight of any of these as `scope::key`. An object is a source, or tensors in memory by name.
 */
export type WeightRef = string | WeightSource | Tensors;

/** Options of {@link openRef}. */
export interface OpenRefOptions extends ReadOptions {
  /** Store whose models are searched first; a function is called to open it. */
  readonly store?: Store | (() => Promise<Store>) | undefined;
  /** References by scope of `scope::key`; a scope that is not listed is opened as a reference. */
  readonly scopes?: Readonly<Record<string, WeightRef>> | undefined;
}

/**
 * Opens the target of a reference. Reads no weights.
 * @throws LinkError `not-found` for a reference without a target; FormatError, SourceError, StoreError
 */
export async function openRef(ref: WeightRef, options: OpenRefOptions = {}): Promise<OpenedRef> {
  if (typeof ref !== "string") return openedSource(isSource(ref) ? ref : memoryWeights(ref));
  const { signal } = options;
  const store = typeof options.store === "function" ? await options.store() : options.store;
  if (store && (await store.names.resolve(ref)) !== undefined) {
    const model = await readModel(store, ref);
    return { kind: "model", name: ref, store, model, [Symbol.asyncDispose]: async () => {} };
  }
  if (await exists(ref)) {
    const opened = await openModel([ref], { signal });
    const close = async (): Promise<void> => opened[Symbol.asyncDispose]();
    return { kind: "files", name: ref, draft: opened.draft, [Symbol.asyncDispose]: close };
  }
  const at = ref.indexOf("::");
  const url = /^https?:\/\//i.test(ref) ? await draftAt(ref, at >= 0, signal) : undefined;
  if (url) return { kind: "url", name: ref, draft: url, [Symbol.asyncDispose]: async () => {} };
  if (at > 0) return openOne(ref.slice(0, at), ref.slice(at + 2), { ...options, store });
  throw noTarget(ref, store);
}

/** Opens one weight of a scope. */
async function openOne(scope: string, key: string, options: OpenRefOptions): Promise<OpenedRef> {
  const { scopes = {}, store, signal } = options;
  const ref = Object.hasOwn(scopes, scope) ? scopes[scope] : undefined;
  const opened = await openRef(ref ?? scope, { store, signal });
  const close = async (): Promise<void> => opened[Symbol.asyncDispose]();
  try {
    const source = allRefWeights(opened, [key]);
    if (!source.layout(key)) throw noSuchWeight(source, key);
    return openedSource(source, close);
  } catch (error) {
    await close();
    throw error;
  }
}

function openedSource(source: WeightSource, close = async (): Promise<void> => undefined): OpenedRef {
  return { kind: "weights", name: source.name, source, [Symbol.asyncDispose]: close };
}

/** Checks for functions: a record of tensors may have a tensor that is named "open". */
function isSource(ref: WeightSource | Tensors): ref is WeightSource {
  return typeof ref.open === "function" && typeof ref.layout === "function" && typeof ref.keys === "function";
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if (isAbsent(cause)) return false;
    throw fileError(path, "check", cause);
  }
}

/** @param optional whether the reference may be a `scope::key` instead of a URL */
async function draftAt(
  url: string,
  optional: boolean,
  signal: AbortSignal | undefined,
): Promise<ModelDraft | undefined> {
  try {
    return await openHttpModel(url, signal ? { signal } : {});
  } catch (error) {
    if (optional && error instanceof SourceError && error.code === "not-found") return undefined;
    throw error;
  }
}

function noTarget(ref: string, store: Store | undefined): LinkError {
  const models = store ? "no model of the store has this name, " : "";
  return new LinkError(
    "not-found",
    `Cannot find weights "${ref}": ${models}no file or folder has this path, and it is no URL and no scope::key`,
    {
      path: ref,
      hint: "Name a model of the store, a file or folder in any format, an http(s) URL, or one weight as scope::key",
    },
  );
}
