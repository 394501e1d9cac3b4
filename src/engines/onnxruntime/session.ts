import { EngineError } from "../../errors.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import type { RunOptions, Session, Signature } from "../engine.ts";
import { requireFeeds } from "../feeds.ts";
import type { EngineThread } from "./thread.ts";
import { abortable } from "../../io/abortable.ts";

/** A session, and what the engine made of its program. */
export interface OrtSessionInfo extends Session {
  /** Whether the engine prepacks weights. */
  readonly prepacked: boolean;
  /** Names of the weights whose prepacked copies it maps, and shares with the sessions of all processes. */
  readonly prepackedWeights: readonly string[];
  /** Names of the weights that it does not map, since it maps constants folded from them, shared in the same way. */
  readonly foldedWeights: readonly string[];
  /** Why the engine optimizes with the weights at each load; `undefined` if the family's program serves. */
  readonly weightlessBlocker: string | undefined;
  /** Whether the program had been compiled before. */
  readonly cached: boolean;
}

/** What a session is made of. */
export interface SessionFacts
  extends Pick<
    OrtSessionInfo,
    "signature" | "prepacked" | "prepackedWeights" | "foldedWeights" | "weightlessBlocker" | "cached"
  > {
  /** Inputs of the program, by the names of the weights that they take. */
  readonly inputs: ReadonlyMap<string, string>;
}

/** The thread of a session, and its number there. */
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
  readonly #inputs: ReadonlyMap<string, string>;
  readonly #lease: AsyncDisposable | undefined;
  #released: Promise<void> | undefined;

  /** @param lease ends with the session */
  constructor(place: SessionPlace, facts: SessionFacts, lease: AsyncDisposable | undefined) {
    this.place = place;
    this.signature = facts.signature;
    this.prepacked = facts.prepacked;
    this.prepackedWeights = facts.prepackedWeights;
    this.foldedWeights = facts.foldedWeights;
    this.weightlessBlocker = facts.weightlessBlocker;
    this.cached = facts.cached;
    this.#inputs = facts.inputs;
    this.#lease = lease;
  }

  /**
   * Holds weights in the session's thread, to be fed with each later run; runs under way finish on the old ones.
   * @param weights by name; `undefined` frees one
   * @throws EngineError `bad-input`, `released`
   */
  async hold(weights: ReadonlyMap<string, NumberTensor | undefined>): Promise<void> {
    if (this.#released)
      throw new EngineError("released", "Cannot change the weights of a session that was released");
    // A copy is transferred: the caller's memory stays the caller's.
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
    requireFeeds(this.signature, inputs);
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
    // If the engine was closed, its sessions are gone already.
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
