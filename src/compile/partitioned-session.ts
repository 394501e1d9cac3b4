import type { RunningPartition } from "./backends/backend.ts";
import type { RunOptions, Session, Signature } from "../engines/engine.ts";
import { requireFeeds } from "../engines/feeds.ts";
import { EngineError } from "../errors.ts";
import type { Tensors } from "../tensor/tensor.ts";

/** A loaded partition, with its inputs and outputs. */
export interface LoadedPartition {
  /** Name of the partition in errors. */
  readonly name: string;
  readonly signature: Signature;
  readonly running: RunningPartition;
}

/** Runs the partitions of a method one after the other, as one session. Passes values from one to the next. */
export class PartitionedSession implements Session {
  readonly signature: Signature;
  readonly #partitions: readonly LoadedPartition[];
  /** Running calls. */
  readonly #underWay = new Set<Promise<unknown>>();
  #released: Promise<void> | undefined;

  constructor(signature: Signature, partitions: readonly LoadedPartition[]) {
    this.signature = signature;
    this.#partitions = partitions;
  }

  async run(inputs: Tensors, options: RunOptions = {}): Promise<Tensors> {
    if (this.#released) throw new EngineError("released", "Cannot run a session that was released");
    options.signal?.throwIfAborted();
    requireFeeds(this.signature, inputs);
    const wanted = options.outputs ?? this.signature.outputs.map((port) => port.name);
    const odd = wanted.find((name) => !this.signature.outputs.some((port) => port.name === name));
    if (odd !== undefined) {
      throw new EngineError("bad-input", `Cannot return "${odd}": the model has no such output`, {
        tensor: odd,
      });
    }
    const running = this.#run(inputs, wanted, options.signal);
    this.#underWay.add(running);
    try {
      return await running;
    } finally {
      this.#underWay.delete(running);
    }
  }

  async #run(inputs: Tensors, wanted: readonly string[], signal: AbortSignal | undefined): Promise<Tensors> {
    const steps = this.#stepsFor(wanted);
    const values = new Map(Object.entries(inputs));
    for (const [index, { partition, outputs }] of steps.entries()) {
      signal?.throwIfAborted();
      const feeds = Object.fromEntries(
        partition.signature.inputs.map(({ name }) => [name, values.get(name) ?? lost(partition, name)]),
      );
      const given = await partition.running.run(feeds, { signal, outputs }).catch((error: unknown) => {
        throw inPartition("run", partition.name, error);
      });
      for (const name of outputs) values.set(name, given[name] ?? lost(partition, name));
      const later = new Set(
        steps.slice(index + 1).flatMap((step) => step.partition.signature.inputs.map((each) => each.name)),
      );
      for (const name of values.keys()) if (!later.has(name) && !wanted.includes(name)) values.delete(name);
    }
    return Object.fromEntries(wanted.map((name) => [name, values.get(name) as Tensors[string]]));
  }

  /** Finds the partitions that compute some outputs, and the values that each has to return. */
  #stepsFor(wanted: readonly string[]): { partition: LoadedPartition; outputs: string[] }[] {
    const needed = new Set(wanted);
    const steps: { partition: LoadedPartition; outputs: string[] }[] = [];
    for (const partition of this.#partitions.toReversed()) {
      const { inputs, outputs } = partition.signature;
      const asked = outputs.map((port) => port.name).filter((name) => needed.has(name));
      if (asked.length === 0) continue;
      for (const { name } of inputs) needed.add(name);
      steps.unshift({ partition, outputs: asked });
    }
    return steps;
  }

  async release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    await Promise.all(this.#partitions.map((partition) => partition.running.release()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}

function lost(partition: LoadedPartition, name: string): never {
  throw new EngineError("engine", `Cannot run ${partition.name}: no earlier partition computed "${name}"`, {
    tensor: name,
  });
}

/** Adds the name of the partition to errors of the engine. Keeps aborts and LinkErrors unchanged. */
export function inPartition(verb: "load" | "run", name: string, error: unknown): unknown {
  if (!(error instanceof EngineError) || error.message.includes(name)) return error;
  const { code, path, tensor, digest, hint } = error;
  return new EngineError(code, `Cannot ${verb} ${name}: ${error.message}`, {
    path,
    tensor,
    digest,
    hint,
    cause: error,
  });
}
