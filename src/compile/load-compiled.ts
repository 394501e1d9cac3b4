import {
  type Backend,
  type BoundWeight,
  type LoadableProgram,
  ONNX_FORM,
  type RunningPartition,
} from "./backends/backend.ts";
import type { CompiledMethod, CompiledPartition } from "./backends/compiled-model.ts";
import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import type { OnnxRuntime, OrtLoadOptions } from "../engines/onnxruntime/engine.ts";
import { findMispackedNode, findPrepackingOperator } from "../engines/onnxruntime/prepacking.ts";
import { EngineError } from "../errors.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { writeThin } from "../formats/onnx/thin.ts";
import { matchWeights, weightTable } from "../weights/match-weights.ts";
import { inPartition, type LoadedPartition, PartitionedSession } from "./partitioned-session.ts";

/** Where compiled programs and the weights that they bind are. */
export interface CompiledPlaces {
  /** Folder that locations are relative to. */
  readonly folder: string;
  program(partition: CompiledPartition): Promise<Uint8Array>;
  data(key: string): Promise<Uint8Array | undefined>;
  /** Where a weight lies: a range of a file in the folder, and its bytes. */
  locate(binding: CompiledPartition["bindings"][number]): Omit<BoundWeight, keyof typeof binding | "name">;
}

/**
 * Loads a compiled method as one session.
 * @param backends that may be asked to load what only they can
 * @throws LinkError for programs and weights that do not fit; EngineError
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
        ? openOnnx(name, program, engine, options)
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

/** Binds a program strictly, whatever its locations were, and opens it. */
async function openOnnx(
  name: string,
  program: LoadableProgram,
  engine: OnnxRuntime,
  options: OrtLoadOptions,
): Promise<RunningPartition> {
  const view = new SparseBytes(name, program.bytes);
  const graph = parseOnnx(view);
  const table = new Map(program.weights.map((weight) => [weight.input, weight]));
  const tensors = graph.tensors.filter((tensor) => tensor.data.kind === "external");
  const expected = tensors.flatMap(({ name: input, dtype, shape }) =>
    dtype === "string" ? [] : [{ name: input, dtype, shape }],
  );
  const given = program.weights.map(({ input, dtype, shape }) => ({ name: input, dtype, shape }));
  matchWeights(expected, weightTable("its record", given), { program: name });
  const model = writeThin(
    view,
    graph,
    (input) => {
      const { location, offset, length } = table.get(input) as BoundWeight;
      return { kind: "file", location, offset, length };
    },
    { weights: tensors, constants: [] },
  );
  const level = (["disabled", "basic", "extended", "all"] as const).find(
    (each) => each === program.settings.level,
  );
  if (!level) {
    throw new EngineError("bad-input", `Cannot load ${name}: its record has no level of optimization`);
  }
  const { signature } = program;
  const constants = new Set(graph.tensors.map((tensor) => tensor.local));
  const unpackable = findMispackedNode(graph, (value) => constants.has(value));
  const prepackingOperator = unpackable ? undefined : findPrepackingOperator(graph);
  const weightlessBlocker = program.settings.whole;
  return engine.open(
    {
      model,
      signature,
      level,
      prepackingOperator,
      prepackedWeights: [],
      foldedWeights: [],
      weightlessBlocker,
      cached: true,
    },
    program.folder,
    options,
  );
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
  throw new EngineError("unsupported", `Cannot load ${name}: no backend here loads "${program.form}"`, {
    hint: "hand the backend that compiled it to load",
  });
}
