import { requireModel } from "../store/require-model.ts";
import { openRef, type OpenRefOptions, type WeightRef } from "./open-ref.ts";
import { refMethods, refWeights } from "./ref-weights.ts";
import { type OpenLoose, openStoredLoose } from "./stored-loose.ts";
import type { WeightSource } from "./weight-source.ts";

/** Weights whose files are open. Dispose it to close them; a caller's own source stays as it is. */
export interface OpenWeights extends WeightSource, AsyncDisposable {}

/** Options of {@link openWeights}. */
export interface OpenWeightsOptions extends OpenRefOptions {
  /** The weights of this method; may be left out where there is one only. */
  readonly method?: string | undefined;
  /** The same, where there is a method of that name. */
  readonly preferredMethod?: string | undefined;
  /** Whether constants that are beside the weights are among the keys; else they are read by name alone. */
  readonly constants?: boolean | undefined;
}

/**
 * Opens weights by name, wherever they are: see {@link WeightRef}. Nothing of them is read.
 * @throws LinkError `not-found` for a reference that leads to nothing, or for a method; FormatError, SourceError,
 * StoreError
 */
export async function openWeights(ref: WeightRef, options: OpenWeightsOptions = {}): Promise<OpenWeights> {
  const { method, preferredMethod, constants = false, signal } = options;
  const opened = await openRef(ref, options);
  let loose: OpenLoose | undefined;
  const close = async (): Promise<void> => {
    await loose?.[Symbol.asyncDispose]();
    await opened[Symbol.asyncDispose]();
  };
  try {
    if (opened.kind === "model") await requireModel(opened.store, opened.model, { signal });
    const chosen = method ?? refMethods(opened).find((name) => name === preferredMethod);
    const source = refWeights(opened, { method: chosen, constants });
    if (opened.kind === "model") {
      loose = await openStoredLoose(opened.store, opened.model, { method: chosen, constants, signal });
    }
    const others = loose?.weights;
    // A class keeps its members on its prototype: it is called, never copied.
    return {
      name: source.name,
      keys: () => (others ? [...source.keys(), ...others.keys()] : source.keys()),
      layout: (key) => source.layout(key) ?? others?.layout(key),
      open: async (key, reading) =>
        others && !source.layout(key) ? others.open(key, reading) : source.open(key, reading),
      unread: loose?.unread ?? source.unread,
      notes: source.notes,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
