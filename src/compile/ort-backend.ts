import { type Backend, type BackendOptions, ONNX_FORM } from "./backends/backend.ts";
import type { BackendProgram, BackendResult, BackendServices, Partition } from "./backends/backend.ts";
import { freeDimensions } from "./backends/dimensions.ts";
import type { Machine } from "./backends/fit.ts";
import { countNodes } from "./backends/operators.ts";
import { SparseBytes } from "../encodings/protobuf/sparse-bytes.ts";
import type { OnnxRuntime } from "../engines/onnxruntime/engine.ts";
import { DEFAULT_LEVEL } from "../engines/onnxruntime/program-key.ts";
import { type CreateSettings, LEVELS } from "../engines/onnxruntime/protocol.ts";
import { UsageError } from "../errors.ts";
import { parseOnnx } from "../formats/onnx/parse.ts";
import { WEIGHTLESS_BLOCKER } from "./link-partition.ts";
import { symbolicLocation, symbolicTensors } from "../formats/onnx/symbolic.ts";
import { bindTemplate } from "../formats/onnx/weightless.ts";
import { tensorBytes } from "../tensor/dtype.ts";

type Level = CreateSettings["level"];

/** The ONNX Runtime backend: optimizes each partition without its weights, once for a family. */
export class OnnxRuntimeBackend implements Backend {
  readonly id = "onnxruntime";
  readonly version: string;
  readonly #open: () => Promise<OnnxRuntime>;
  readonly #machine: Machine;

  /**
   * @param version version of the engine
   * @param open opens the engine; the backend does not close it
   */
  constructor(version: string, open: () => Promise<OnnxRuntime>, machine: Machine) {
    this.version = version;
    this.#open = open;
    this.#machine = machine;
  }

  async compile(
    partitions: readonly Partition[],
    { signal }: BackendServices,
    options: BackendOptions,
  ): Promise<BackendResult> {
    const level = levelOf(options);
    const programs: BackendProgram[] = [];
    for (const partition of partitions) programs.push(await this.#one(partition, level, signal));
    return {
      programs,
      record: {
        engine: "onnxruntime-node",
        version: this.version,
        target: this.#machine.target,
        cpu: this.#machine.cpu,
        settings: { level, provider: "CPU" },
        dimensions: freeDimensions(partitions),
      },
    };
  }

  async #one(partition: Partition, level: Level, signal: AbortSignal | undefined): Promise<BackendProgram> {
    const { method, index, key, program, graph, weights } = partition;
    const open = async (): ReturnType<Parameters<OnnxRuntime["compile"]>[0]["open"]> => ({
      view: new SparseBytes(`${method}, partition ${index}`, program),
      graph,
      bound: symbolicTensors(graph),
      bind: (name) => {
        throw new TypeError(`Cannot bind "${name}" before the program is linked`);
      },
    });
    const engine = await this.#open();
    const { artifact, cached: reused } = await engine.compile({ key, open }, { level, signal });
    const base = { method, index, form: ONNX_FORM, reused };
    const names = new Map(weights.map((each) => [each.input, each.weight]));
    if (!artifact.template) {
      return {
        ...base,
        bytes: program,
        bindings: weights.map(({ input, weight }) => ({ input, weight, layout: "row-major" })),
        nodes: countNodes(graph),
        settings: { level, [WEIGHTLESS_BLOCKER]: artifact.weightlessBlocker ?? "" },
      };
    }
    const wanted = artifact.weights.map((each) => ({ ...each, weight: names.get(each.name) ?? each.name }));
    const bytes = bindTemplate(
      artifact.template,
      wanted.map(({ input, weight, dtype, shape }) => {
        const location = symbolicLocation(weight);
        const length = tensorBytes(dtype, shape) ?? 0;
        return { input, dtype, shape, binding: { kind: "file", location, offset: 0, length } };
      }),
    );
    return {
      ...base,
      bytes,
      bindings: wanted.map(({ input, weight }) => ({ input, weight, layout: "row-major" })),
      nodes: countNodes(parseOnnx(new SparseBytes("compiled program", bytes))),
      settings: { level: "disabled" },
    };
  }
}

function levelOf(options: BackendOptions): Level {
  const { level = DEFAULT_LEVEL, ...others } = options;
  const known = LEVELS.find((each) => each === level);
  const [odd] = Object.keys(others);
  if (known !== undefined && odd === undefined) return known;
  const what = odd === undefined ? `level "${level}"` : `setting "${odd}"`;
  throw new UsageError("usage", `Cannot compile with ONNX Runtime: it has no ${what}`, {
    hint: `Give the setting level with one of ${LEVELS.join(", ")}`,
  });
}
