import { EngineError, UsageError } from "../../errors.ts";
import type { OnnxNode } from "../../formats/onnx/graph.ts";
import type { Weight } from "../../model/config.ts";
import { unknownWeight } from "../../model/unknown-weight.ts";
import { matchWeights, weightTable } from "../../weights/match-weights.ts";
import { type Digest, digestHex } from "../../tensor/digest.ts";
import type {
  Backend,
  BackendBlobs,
  BackendOptions,
  BackendProgram,
  BackendServices,
  Partition,
} from "./backend.ts";
import type { CompiledFile } from "./compiled-file.ts";
import {
  checkFlow,
  type CompiledData,
  type CompiledMethod,
  type CompiledModel,
  type CompiledPartition,
  type CompileRecord,
} from "./compiled-model.ts";
import { cutMethod, type MethodSource } from "./cut-method.ts";
import { countNodes } from "./operators.ts";
import {
  describePartitionRule,
  partitionNodes,
  type PartitionRule,
  partitionRuleSelects,
} from "./partition.ts";

/** Limit of the data that backends put, which is stored with the programs. Larger data should stay a weight. */
const MAX_DATA = 64 * 1024 * 1024;

/** Key, size and digest of data that a backend put. */
export interface PutData {
  readonly digest: Digest;
  readonly length: number;
  readonly alignment: number;
}

/** Stores and reads the data of backends; implemented by {@link BlobService}. */
export interface CompileBlobs extends BackendBlobs {
  keys(): readonly string[];
  get(key: string): PutData | undefined;
  stream(key: string): AsyncIterable<Uint8Array>;
}

/** Functions of the platform that a compilation needs. */
export interface CompileSurroundings extends BackendServices {
  readonly blobs: CompileBlobs;
  digest(bytes: Uint8Array): Digest;
}

/** Settings of a compilation. */
export interface CompileSettings {
  /** Backends in order of preference: without rules, the first backend that supports a node compiles it. */
  readonly backends: readonly Backend[];
  readonly rules: readonly PartitionRule[];
  /** Settings of each backend, by its id. */
  readonly options: Readonly<Record<string, BackendOptions>>;
}

/** A newly compiled model. */
export interface Compiled extends CompiledFile {
  /** Number of partitions that came from a backend's cache. */
  readonly reused: number;
}

/**
 * Compiles all methods of a model without values of weights: cuts each method into partitions, passes all partitions of
 * a backend to it at once, and checks its results.
 * @throws UsageError for rules that match no node; FormatError `unsupported` for a method that cannot be cut, or for a
 * node that no backend supports; EngineError for invalid results of a backend; errors of backends
 */
export async function compileModel(
  model: string,
  methods: readonly MethodSource[],
  settings: CompileSettings,
  surroundings: CompileSurroundings,
): Promise<Compiled> {
  checkRules(methods, settings.rules);
  const work: { readonly partition: Partition; readonly backend: Backend }[] = [];
  for (const method of methods) {
    const runs = partitionNodes(method.name, method.graph, settings.backends, settings.rules);
    const partitions = await cutMethod(method, runs, (bytes) => digestHex(surroundings.digest(bytes)));
    work.push(...partitions);
  }
  const programs = new Map<Partition, BackendProgram>();
  const records: CompileRecord[] = [];
  for (const backend of settings.backends) {
    const mine = work.filter((each) => each.backend === backend).map((each) => each.partition);
    if (mine.length === 0) continue;
    surroundings.signal?.throwIfAborted();
    const result = await backend.compile(mine, surroundings, settings.options[backend.id] ?? {});
    for (const [partition, program] of answers(backend, mine, result.programs))
      programs.set(partition, program);
    records.push({ backend: backend.id, ...result.record });
  }

  const bytes = new Map<Digest, Uint8Array>();
  const describe = (method: MethodSource): CompiledMethod => ({
    name: method.name,
    source: method.source,
    signature: method.signature,
    partitions: work
      .filter(({ partition }) => partition.method === method.name)
      .map(({ partition, backend }) => {
        const program = programs.get(partition) as BackendProgram;
        const digest = surroundings.digest(program.bytes);
        bytes.set(digest, program.bytes);
        return describePartition(backend, method, partition, program, digest);
      }),
  });
  const data = await dataOf(surroundings.blobs, bytes);
  const compiled = { model, methods: methods.map(describe), records, data };
  for (const method of compiled.methods) checkFlow(method, model);
  const reused = [...programs.values()].filter((program) => program.reused).length;
  return { model: compiled, parts: bytes, reused };
}

/**
 * Rebinds a compiled model to the weights of another model of its family. The programs stay the same.
 * @param tables weights of the other model by method
 * @throws WeightMismatchError with every weight that does not match
 */
export function adopt(
  compiled: CompiledModel,
  model: string,
  tables: ReadonlyMap<string, readonly Weight[]>,
): CompiledModel {
  const methods = compiled.methods.map((method) => {
    const weights = tables.get(method.name) ?? [];
    const table = new Map(weights.map((weight) => [weight.name, weight]));
    // One weight may be bound to several inputs.
    const expected = new Map(
      method.partitions.flatMap(({ bindings }) =>
        bindings.map(({ weight: name, dtype, shape }) => [name, { name, dtype, shape }]),
      ),
    );
    matchWeights(expected.values(), weightTable(model, weights), {
      program: `${compiled.model}/${method.name}, compiled`,
      spare: true,
    });
    const partitions = method.partitions.map((partition) => ({
      ...partition,
      bindings: partition.bindings.map((binding) => {
        return { ...binding, digest: (table.get(binding.weight) as Weight).digest };
      }),
    }));
    return { ...method, partitions };
  });
  return { ...compiled, model, methods };
}

/** Reads the data that backends put, up to its limit. */
async function dataOf(blobs: CompileBlobs, parts: Map<Digest, Uint8Array>): Promise<CompiledData[]> {
  const data: CompiledData[] = [];
  let total = 0;
  for (const key of blobs.keys()) {
    const { digest, length, alignment } = blobs.get(key) as PutData;
    data.push({ key, digest, size: length, alignment });
    if (parts.has(digest)) continue;
    total += length;
    if (total > MAX_DATA) {
      throw new EngineError(
        "too-large",
        `Cannot keep "${key}": the data of backends is over the limit of ${MAX_DATA} bytes`,
        { tensor: key, digest },
      );
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for await (const chunk of blobs.stream(key)) {
      bytes.set(chunk, at);
      at += chunk.byteLength;
    }
    parts.set(digest, bytes);
  }
  return data;
}

/** Refuses a rule that matches no node, which is probably a typing error. */
function checkRules(methods: readonly MethodSource[], rules: readonly PartitionRule[]): void {
  for (const rule of rules) {
    const selects = (node: OnnxNode): boolean => partitionRuleSelects(rule, node);
    if (methods.some((method) => method.graph.graph.nodes.some(selects))) continue;
    throw new UsageError("usage", `Cannot use the rule ${describePartitionRule(rule)}: it selects no node`, {
      hint: "Write the complete operator type or node name; * stands for any characters",
    });
  }
}

/** Pairs partitions with the results of a backend. Requires exactly one result for each partition. */
function answers(
  backend: Backend,
  partitions: readonly Partition[],
  programs: readonly BackendProgram[],
): Map<Partition, BackendProgram> {
  const found = new Map<Partition, BackendProgram>();
  for (const program of programs) {
    const partition = partitions.find(
      ({ method, index }) => method === program.method && index === program.index,
    );
    if (!partition || found.has(partition)) {
      throw wrong(
        backend,
        `returns ${partition ? "two results for" : "an unknown"} partition ${program.index} of "${program.method}"`,
      );
    }
    found.set(partition, program);
  }
  const left = partitions.find((partition) => !found.has(partition));
  if (left) throw wrong(backend, `returns no result for partition ${left.index} of "${left.method}"`);
  return found;
}

function describePartition(
  backend: Backend,
  method: MethodSource,
  partition: Partition,
  program: BackendProgram,
  digest: Digest,
): CompiledPartition {
  const table = new Map(method.weights.map((weight) => [weight.name, weight]));
  const open = new Set(partition.weights.map((each) => each.weight));
  const seen = new Set<string>();
  const bindings = program.bindings.map(({ input, weight: name, layout }) => {
    const weight = table.get(name);
    if (!weight) return unknownWeight(method.name, name);
    if (!open.has(name)) throw wrong(backend, `binds weight "${name}", which its partition does not have`);
    if (seen.has(input)) throw wrong(backend, `binds "${input}" twice`);
    seen.add(input);
    return { input, weight: name, digest: weight.digest, dtype: weight.dtype, shape: weight.shape, layout };
  });
  return {
    backend: backend.id,
    form: program.form,
    program: { digest, size: program.bytes.byteLength },
    signature: partition.signature,
    bindings,
    nodes: {
      before: countNodes(partition.graph),
      after: program.nodes,
    },
    settings: program.settings,
  };
}

function wrong(backend: Backend, reason: string): EngineError {
  return new EngineError("engine", `Cannot use the results of backend "${backend.id}": it ${reason}`);
}
