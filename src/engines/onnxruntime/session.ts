import { EngineError } from "../../errors.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import type { RunOptions, Session, Signature } from "../engine.ts";
import { requireFeeds } from "../feeds.ts";
import type { EngineThread } from "./thread.ts";
import { abortable } from "../../io/abortable.ts";

/** Properties of a session, and of its compiled program. */
export interface OrtSessionInfo extends Session {
  /** Whether the engine prepacks weights. */
  readonly prepacked: boolean;
  /** Names of the weights whose prepacked copies it maps, and shares with the sessions of all processes. */
  readonly prepackedWeights: readonly string[];
  /** Names of the weights that it does not map, because it maps shared constants folded from them. */
  readonly foldedWeights: readonly string[];
  /** Why the engine optimizes with the weights at each load; `undefined` if it uses the family's compiled program. */
  readonly weightlessBlocker: string | undefined;
  /** Whether the program came from the cache. */
  readonly cached: boolean;
}

/** The parts of a session. */
export interface SessionFacts
  extends Pick<
    OrtSessionInfo,
    "signature" | "prepacked" | "prepackedWeights" | "foldedWeights" | "weightlessBlocker" | "cached"
  > {
  /** The model's name in errors. */
  readonly name: string;
  /** Inputs of the program, by the names of their weights. */
  readonly inputs: ReadonlyMap<string, string>;
}

/** The thread of a session, and its id there. */
export interface SessionPlace {
  readonly thread: EngineThread;
  readonly id: number;
}

/** A session in a thread. */
export class ThreadSession implements OrtSessionInfo {
  readonly place: SessionPlace;
  readonly signature: Signature;
  readonly prepacked: boolean;
  readonly prepackedWeights: readonly string[];
  readonly foldedWeights: readonly string[];
  readonly weightlessBlocker: string | undefined;
  readonly cached: boolean;
  readonly #name: string;
  readonly #inputs: ReadonlyMap<string, string>;
  readonly #lease: AsyncDisposable | undefined;
  #released: Promise<void> | undefined;

  /** @param lease lease that the session releases at its end */
  constructor(place: SessionPlace, facts: SessionFacts, lease: AsyncDisposable | undefined) {
    this.place = place;
    this.signature = facts.signature;
    this.prepacked = facts.prepacked;
    this.prepackedWeights = facts.prepackedWeights;
    this.foldedWeights = facts.foldedWeights;
    this.weightlessBlocker = facts.weightlessBlocker;
    this.cached = facts.cached;
    this.#name = facts.name;
    this.#inputs = facts.inputs;
    this.#lease = lease;
  }

  /**
   * Holds weights in the session's thread as inputs of each later run. Running calls finish with the old weights.
   * @param weights weights by name; `undefined` frees a weight
   * @throws EngineError `bad-input`, `released`
   */
  async hold(weights: ReadonlyMap<string, NumberTensor | undefined>): Promise<void> {
    if (this.#released)
      throw new EngineError("released", "Cannot change the weights of a session that was released");
    // Transfer a copy, because a transfer would detach the caller's memory.
    const copies = [...weights].map(([name, tensor]) => {
      const copy = tensor && { ...tensor, bytes: new Uint8Array(tensor.bytes) };
      return [this.#inputs.get(name) ?? name, copy] as const;
    });
    const memory = copies.flatMap(([, tensor]) => (tensor ? [tensor.bytes.buffer] : []));
    const { thread, id } = this.place;
    await thread.ask({ op: "hold", session: id, tensors: Object.fromEntries(copies) }, memory);
  }

  async run(inputs: Tensors, options: RunOptions = {}): Promise<Tensors> {
    if (this.#released) throw new EngineError("released", "Cannot run a session that was released");
    options.signal?.throwIfAborted();
    requireFeeds(this.signature, inputs, this.#name);
    const answer = this.place.thread.ask({
      op: "run",
      session: this.place.id,
      inputs,
      outputs: options.outputs,
    });
    return abortable(answer, options.signal);
  }

  async release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    const { thread, id } = this.place;
    // A closed engine has already ended its sessions.
    if (!thread.ended) {
      await thread.ask({ op: "release", session: id });
      thread.sessions--;
    }
    await this.#lease?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}
