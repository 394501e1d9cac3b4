import { requireModel } from "../store/require-model.ts";
import { openRef, type OpenRefOptions, type WeightRef } from "./open-ref.ts";
import { refMethods, refWeights } from "./ref-weights.ts";
import { type OpenLoose, openStoredLoose } from "./stored-loose.ts";
import type { WeightSource } from "./weight-source.ts";

/** Weights with open files. Dispose it to close the files; a source of the caller stays open. */
export interface OpenWeights extends WeightSource, AsyncDisposable {}

/** Options of {@link openWeights}. */
export interface OpenWeightsOptions extends OpenRefOptions {
  /** Name of the method; optional if there is one method. */
  readonly method?: string | undefined;
  /** Name of the method to use if `method` is not given and a method of this name exists. */
  readonly preferredMethod?: string | undefined;
  /** Whether the keys include the constants of the method; without this, constants can be opened but are not listed. */
  readonly constants?: boolean | undefined;
}

/**
 * Opens the weights of a {@link WeightRef}. Reads no weights.
 * @throws LinkError `not-found` for a reference without a target, or for a method; FormatError, SourceError,
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
    // Call the members: a spread would lose the methods of a class.
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
