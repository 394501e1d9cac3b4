import {
  type Backend,
  type BoundWeight,
  type LoadableProgram,
  ONNX_FORM,
  type RunningPartition,
} from "./backends/backend.ts";
import type { CompiledMethod, CompiledPartition } from "./backends/compiled-model.ts";
import type { OnnxRuntime, OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import { EngineError } from "../errors.ts";
import { linkPartition } from "./link-partition.ts";
import { inPartition, type LoadedPartition, PartitionedSession } from "./partitioned-session.ts";

/** Finds compiled programs, their data and their weights. */
export interface CompiledPlaces {
  /** Absolute path of the folder that locations are relative to. */
  readonly folder: string;
  program(partition: CompiledPartition): Promise<Uint8Array>;
  data(key: string): Promise<Uint8Array | undefined>;
  /** Finds a weight: its range of a file in the folder, and its bytes. */
  locate(binding: CompiledPartition["bindings"][number]): Omit<BoundWeight, keyof typeof binding | "name">;
}

/**
 * Loads a compiled method as one session.
 * @param backends backends that load programs of their forms
 * @throws LinkError for programs and weights that do not match; EngineError
 */
export async function loadCompiledMethod(
  method: CompiledMethod,
  places: CompiledPlaces,
  engine: OnnxRuntime,
  backends: readonly Backend[],
  options: OrtLoadOptions,
): Promise<PartitionedSession> {
  const loaded: LoadedPartition[] = [];
  try {
    for (const [index, partition] of method.partitions.entries()) {
      const name = `partition ${index} (${partition.backend}) of "${method.name}"`;
      const program: LoadableProgram = {
        folder: places.folder,
        form: partition.form,
        bytes: await places.program(partition),
        signature: partition.signature,
        settings: partition.settings,
        weights: partition.bindings.map((binding) => ({
          ...binding,
          name: binding.weight,
          ...places.locate(binding),
        })),
        data: (key) => places.data(key),
      };
      const running = await (partition.form === ONNX_FORM
        ? engine.load(linkPartition(name, partition.program.digest, program), options)
        : loadOther(name, partition.backend, program, backends, options.signal)
      ).catch((error: unknown) => {
        throw inPartition("load", name, error);
      });
      loaded.push({ name, signature: partition.signature, running });
    }
  } catch (error) {
    await Promise.allSettled(loaded.map((each) => each.running.release()));
    throw error;
  }
  return new PartitionedSession(method.signature, loaded);
}

async function loadOther(
  name: string,
  id: string,
  program: LoadableProgram,
  backends: readonly Backend[],
  signal: AbortSignal | undefined,
): Promise<RunningPartition> {
  const backend = backends.find((each) => each.id === id);
  if (backend?.load) return backend.load(program, { signal });
  throw new EngineError("unsupported", `Cannot load ${name}: no backend loads the form "${program.form}"`, {
    hint: "Add the backend that compiled it to the options of the load",
  });
}
