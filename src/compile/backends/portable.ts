import { type Backend, type BackendResult, ONNX_FORM, type Partition } from "./backend.ts";
import { freeDimensions } from "./dimensions.ts";
import { countNodes } from "./operators.ts";

/**
 * The backend for any runtime: keeps the program unchanged, with its weights as external data. A runtime may optimize the
 * program at the load; tare loads it at level "disabled", so that its outputs are those of the original nodes.
 */
export class PortableBackend implements Backend {
  readonly id = "portable";
  readonly version = "1";

  async compile(partitions: readonly Partition[]): Promise<BackendResult> {
    return {
      programs: partitions.map(({ method, index, program, graph, weights }) => ({
        method,
        index,
        form: ONNX_FORM,
        bytes: program,
        bindings: weights.map(({ input, weight }) => ({ input, weight, layout: "row-major" })),
        nodes: countNodes(graph),
        settings: { level: "disabled" },
        reused: false,
      })),
      record: {
        engine: "any",
        version: this.version,
        target: "any",
        cpu: [],
        settings: {},
        dimensions: freeDimensions(partitions),
      },
    };
  }
}
