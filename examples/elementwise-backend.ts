import type {
  Backend,
  BackendProgram,
  BackendResult,
  BackendServices,
  LoadableProgram,
  Partition,
  RunningPartition,
  Tensor,
} from "tare/compile";

const UNARY: Readonly<Record<string, (a: number) => number>> = {
  Abs: Math.abs,
  Neg: (a) => -a,
  Relu: (a) => Math.max(a, 0),
};
const BINARY: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
};

/** What a partition becomes: values by name, one step after the other. */
interface Step {
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly output: string;
}
interface Steps {
  readonly steps: readonly Step[];
  /** Constants of the program, and the keys under which their bytes are kept. */
  readonly constants: Readonly<Record<string, string>>;
}

/** Runs element-wise float32 nodes in plain TypeScript; the second operand is as the first, or as its last dimensions. */
export class ElementwiseBackend implements Backend {
  readonly id = "elementwise";
  readonly version = "1";

  takes({ opType, domain }: { readonly opType: string; readonly domain: string }): boolean {
    return domain === "" && (opType in UNARY || opType in BINARY);
  }

  async compile(partitions: readonly Partition[], { blobs }: BackendServices): Promise<BackendResult> {
    const programs: BackendProgram[] = [];
    for (const { method, index, program, graph, signature, weights } of partitions) {
      const odd = [...signature.inputs, ...weights].find((each) => each.dtype !== "float32");
      if (odd) throw new TypeError(`elementwise computes float32, not ${odd.dtype}`);
      const constants: Record<string, string> = {};
      for (const { local, dtype, data } of graph.tensors) {
        if (data.kind === "external") continue;
        if (dtype !== "float32" || data.kind !== "plain")
          throw new TypeError(`"${local}" is not plain float32`);
        const key = `elementwise/${method}/${index}/${local}`;
        await blobs.put(key, program.slice(data.offset, data.offset + data.length), { alignment: 4 });
        constants[local] = key;
      }
      const nodes = graph.graph.nodes.filter((node) => node.opType !== "Constant");
      const steps = nodes.map(({ opType, inputs, outputs }): Step => {
        return { operator: opType, inputs, output: outputs[0] as string };
      });
      programs.push({
        method,
        index,
        form: "elementwise-steps",
        bytes: new TextEncoder().encode(JSON.stringify({ steps, constants } satisfies Steps)),
        bindings: weights.map(({ input, weight }) => ({ input, weight, layout: "row-major" })),
        nodes: steps.length,
        settings: {},
        reused: false,
      });
    }
    const record = {
      engine: "elementwise",
      version: this.version,
      target: "any",
      cpu: [],
      settings: {},
      dimensions: [],
    };
    return { programs, record };
  }

  async load(program: LoadableProgram): Promise<RunningPartition> {
    const { steps, constants } = JSON.parse(new TextDecoder().decode(program.bytes)) as Steps;
    const fixed = new Map<string, Float32Array>();
    for (const weight of program.weights) fixed.set(weight.input, floats(await weight.read()));
    for (const [name, key] of Object.entries(constants)) {
      const bytes = await program.data(key);
      if (!bytes) throw new TypeError(`"${key}" is missing`);
      fixed.set(name, floats(bytes));
    }
    const { inputs, outputs } = program.signature;
    return {
      async run(given) {
        const values = new Map(fixed);
        const shapes = new Map<string, readonly number[]>();
        for (const { name } of inputs) {
          const tensor = given[name] as Tensor;
          if (tensor.dtype !== "float32") throw new TypeError(`"${name}" is not float32`);
          values.set(name, floats(tensor.bytes));
          shapes.set(name, tensor.shape);
        }
        for (const { operator, inputs: names, output } of steps) {
          const [a, b] = names.map((name) => values.get(name) as Float32Array);
          values.set(output, compute(operator, a as Float32Array, b));
          shapes.set(output, names.map((name) => shapes.get(name)).find((shape) => shape) ?? []);
        }
        return Object.fromEntries(
          outputs.map(({ name }) => {
            const { buffer } = values.get(name) as Float32Array;
            const bytes = new Uint8Array(buffer as ArrayBuffer);
            return [name, { dtype: "float32", shape: shapes.get(name) ?? [], bytes }];
          }),
        );
      },
      async release() {},
    };
  }
}

function compute(operator: string, a: Float32Array, b: Float32Array | undefined): Float32Array {
  const unary = UNARY[operator];
  if (unary) return a.map(unary);
  const binary = BINARY[operator];
  if (!binary || !b || a.length % b.length !== 0)
    throw new TypeError(`elementwise cannot compute this ${operator}`);
  return a.map((value, index) => binary(value, b[index % b.length] as number));
}

function floats(bytes: Uint8Array): Float32Array {
  return new Float32Array(new Uint8Array(bytes).buffer);
}
