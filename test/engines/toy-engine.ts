import {
  type Engine,
  type EngineCapabilities,
  type EngineEntry,
  EngineError,
  type EngineLoadOptions,
  type LinkedProgram,
  plainForecast,
  requireFeeds,
  type RunOptions,
  type Session,
  type Signature,
  type Tensors,
} from "tare";
import { readWeights } from "tare/weights";

const CAPABILITIES: EngineCapabilities = {
  formats: ["safetensors"],
  sharesWeights: false,
  compilesWeightless: false,
  abortsRunning: false,
};

/** An engine for models that are weights alone: each output of a session is the weight of that name. */
export class ToyEngine implements Engine<LinkedProgram, EngineLoadOptions, ToySession> {
  readonly id = "toy";
  readonly version = "1";
  readonly capabilities: EngineCapabilities = CAPABILITIES;
  closed = false;

  async load(program: LinkedProgram, { signal }: EngineLoadOptions = {}): Promise<ToySession> {
    const weights: Record<string, Tensors[string]> = {};
    for await (const { key, layout, bytes } of readWeights(program.weights, { signal })) {
      weights[key] = { dtype: layout.dtype, shape: layout.shape, bytes };
    }
    return new ToySession(signatureOf(program), weights, program.lease);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true;
  }
}

/** A session of the toy engine. */
export class ToySession implements Session {
  readonly signature: Signature;
  readonly #weights: Tensors;
  readonly #lease: AsyncDisposable | undefined;
  #released = false;

  constructor(signature: Signature, weights: Tensors, lease: AsyncDisposable | undefined) {
    this.signature = signature;
    this.#weights = weights;
    this.#lease = lease;
  }

  async run(inputs: Tensors, { outputs }: RunOptions = {}): Promise<Tensors> {
    if (this.#released) throw new EngineError("released", "Cannot run a session that was released");
    requireFeeds(this.signature, inputs);
    const names = outputs ?? Object.keys(this.#weights);
    return Object.fromEntries(names.map((name) => [name, this.#weights[name] as Tensors[string]]));
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    await this.#lease?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}

/** The toy engine's line in the registry. */
export const TOY: EngineEntry<ToyEngine> = {
  id: "toy",
  label: "the toy engine",
  formats: ["safetensors"],
  hint: "Run it in the toy engine",
  open: async () => new ToyEngine(),
  forecast: async (program) => ({
    ...plainForecast(signatureOf(program)),
    copied: new Set(program.bindings.map((binding) => binding.name)),
  }),
};

function signatureOf({ bindings }: LinkedProgram): Signature {
  return { inputs: [], outputs: bindings.map(({ name, dtype, shape }) => ({ name, dtype, shape })) };
}
