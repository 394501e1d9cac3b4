import { createHash } from "node:crypto";
import type { Backend, BackendOptions } from "./backends/backend.ts";
import { BlobService } from "./blobs/blob-service.ts";
import { adopt, compileModel, type CompileSettings } from "./backends/compile-model.ts";
import { type CompiledFile, decodeCompiled, encodeCompiled } from "./backends/compiled-file.ts";
import type { MethodSource } from "./backends/cut-method.ts";
import type { Machine } from "./backends/fit.ts";
import type { PartitionRule } from "./backends/partition.ts";
import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import type { OnnxRuntime } from "../engines/onnxruntime/engine.ts";
import { programKey } from "../engines/onnxruntime/program-key.ts";
import { signatureOf } from "../engines/onnxruntime/signature.ts";
import { EngineError } from "../errors.ts";
import { writeProbe, writeRankProbe } from "../formats/onnx/cut.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { bindSymbolic, symbolicWeights, writeSymbolic } from "../formats/onnx/symbolic.ts";
import { openOnnxProgram } from "../link/onnx-program.ts";
import { locationOf } from "../model/location-of.ts";
import { planLink } from "../model/plan.ts";
import type { Method } from "../model/config.ts";
import { digestHex } from "../tensor/digest.ts";
import type { LinkPlan } from "../model/link-plan.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { Port } from "../tensor/signature.ts";
import { createSha256, sha256 } from "../node/sha256.ts";
import { FileCompileCache } from "../local-store/compile-cache.ts";
import type { CompiledPlaces } from "./load-compiled.ts";
import type { LocalStore } from "../local-store/local-store.ts";
import { memoryBlobs } from "../store/memory-blobs.ts";
import { requireModel } from "../store/require-model.ts";

/** Version of cached compilations. */
const RECIPE = 1;

/** Options of a compilation. */
export interface CompileOptions {
  /**
   * Ids of built-in backends (`onnxruntime`, `portable`), or other backends, in order of preference. Without rules, the
   * first backend that supports a node compiles it. Rules may also name built-in backends that are not listed.
   */
  readonly backends?: readonly (string | Backend)[] | undefined;
  /** Rules that assign nodes to backends; the first rule that matches a node applies. */
  readonly partition?: readonly PartitionRule[] | undefined;
  /** Settings of each backend, by its id. */
  readonly settings?: Readonly<Record<string, BackendOptions>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A compiled model of a store. */
export interface CompiledStored extends CompiledFile {
  /** Whether the complete result came from the cache. */
  readonly cached: boolean;
  /** Number of partitions that came from a backend's cache, if `cached` is false. */
  readonly reused: number;
}

/** The store, the engine and the machine of a compilation. */
export interface CompileHost {
  readonly store: LocalStore;
  readonly engine: () => Promise<OnnxRuntime>;
  readonly machine: Machine;
}

/**
 * Compiles a model of a store, or loads the cached compilation of its family.
 * @throws EngineError `unsupported` for other formats; what {@link compileModel} throws
 */
export async function compileStored(
  { store, engine, machine }: CompileHost,
  model: StoredModel,
  settings: CompileSettings,
  signal: AbortSignal | undefined,
): Promise<CompiledStored> {
  const { config, name } = model;
  if (config.format !== "onnx") {
    throw new EngineError("unsupported", `Cannot compile "${name}": it is ${config.format}, not ONNX`);
  }
  const plans = new Map(
    config.methods.map((method) => [method, planLink(model, method, (blob) => store.location(blob))]),
  );
  const cache = new FileCompileCache(store);
  const key = keyOf([...plans.values()], settings, machine);
  const kept = await cache.get(key);
  if (kept) {
    const { model: compiled, parts } = decodeCompiled(kept, `compiled "${name}"`, sha256);
    const tables = new Map(config.methods.map((method) => [method.name, method.weights]));
    return { model: adopt(compiled, name, tables), parts, cached: true, reused: 0 };
  }
  await requireModel(store, model, { signal });
  const sources: MethodSource[] = [];
  for (const [method, plan] of plans) {
    sources.push(await openMethod(store, engine, model, method, plan, signal));
  }
  const blobs = new BlobService({
    sink: memoryBlobs({ createDigest: createSha256 }),
    createDigest: createSha256,
  });
  const compiled = await compileModel(name, sources, settings, { blobs, digest: sha256, signal });
  await cache.put(key, encodeCompiled(compiled));
  return { ...compiled, cached: false };
}

/** Finds programs, data and weights of a compiled model in a store. */
export function storedPlaces(
  store: LocalStore,
  model: StoredModel,
  { model: compiled, parts }: CompiledFile,
): CompiledPlaces {
  return {
    folder: store.name,
    program: async ({ program }) => parts.get(program.digest) as Uint8Array,
    data: async (key) => {
      const data = compiled.data.find((each) => each.key === key);
      return data && parts.get(data.digest);
    },
    locate({ weight, digest }) {
      const { blob, offset, length } = locationOf(model, digest, { doing: `link "${model.name}"`, weight });
      return {
        location: store.location(blob),
        offset,
        length,
        async read() {
          await using source = await store.blobs.open(blob);
          return await source.read(offset, length);
        },
      };
    },
  };
}

/**
 * Cache key of a compilation: a hash of all its inputs, and the digest of its first program, by which garbage collection
 * finds entries of removed models.
 */
function keyOf(plans: readonly LinkPlan[], settings: CompileSettings, machine: Machine): string {
  const [first] = plans;
  const all = {
    recipe: RECIPE,
    methods: plans.map((plan) => [plan.method, programKey(plan)]),
    backends: settings.backends.map(({ id, version }) => [id, version, settings.options[id] ?? {}]),
    rules: settings.rules,
    machine,
  };
  const hash = createHash("sha256").update(JSON.stringify(all)).digest("hex").slice(0, 32);
  return `compiled-${hash}-${first ? digestHex(first.program) : "none"}`;
}

async function openMethod(
  store: LocalStore,
  engine: () => Promise<OnnxRuntime>,
  model: StoredModel,
  method: Method,
  plan: LinkPlan,
  signal: AbortSignal | undefined,
): Promise<MethodSource> {
  const { view, graph: stored, bind } = await openOnnxProgram(store, model, method, plan);
  const signature = signatureOf(stored);
  const program = writeSymbolic(view, stored, bind);
  const symbolic = new SparseBytes(view.name, program);
  const graph = parseOnnx(symbolic);
  return {
    name: method.name,
    source: plan.program,
    key: programKey(plan),
    program,
    graph,
    signature,
    weights: method.weights,
    async inferTypes(names) {
      // The inference of types does not read weights, but an engine opens no model without them.
      const places = new Map(symbolicWeights(graph).map((each) => [each.tensor.name, each.name]));
      const model = bindSymbolic(symbolic, graph, (input) => bind(places.get(input) ?? input));
      const bound = new SparseBytes(view.name, model);
      const parsed = parseOnnx(bound);
      const ask = async (probe: Uint8Array): Promise<readonly Port[]> =>
        (await engine()).outputsOf(probe, store.name, signal);
      const asked = new Set(names);
      const ports = (await ask(writeProbe(bound, parsed, names))).filter((port) => asked.has(port.name));
      const unranked = ports.filter((port) => port.dtype !== undefined && !port.shape);
      // Almost every model imports the operators of the empty domain.
      if (unranked.length === 0 || !parsed.opsets.has("")) return ports;
      const probe = writeRankProbe(
        bound,
        parsed,
        unranked.map((port) => port.name),
      );
      const ranks = (await ask(probe)).slice(-unranked.length).map((port) => port.shape?.[0]);
      const scalars = new Set(unranked.filter((_, index) => ranks[index] === 0));
      return ports.map((port) => (scalars.has(port) ? { ...port, shape: [] } : port));
    },
  };
}
