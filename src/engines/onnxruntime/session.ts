import { EngineError } from "../../errors.ts";
import type { NumberTensor, Tensors } from "../../tensor/tensor.ts";
import type { RunOptions, Session, Signature } from "../engine.ts";
import { requireFeeds } from "../feeds.ts";
import type { EngineThread } from "./thread.ts";
import { abortable } from "../../io/abortable.ts";

/** A session, and what the engine made of its program. */
export interface OrtSessionInfo extends Session {
  /** Whether the engine keeps packed copies of weights. */
  readonly prepacked: boolean;
  /** Names of the weights whose packed copies it maps, and shares with every session of whatever process. */
  readonly prepackedWeights: readonly string[];
  /** Names of the weights that it does not map: it has what is derived from them, shared likewise. */
  readonly foldedWeights: readonly string[];
  /** Why the engine optimizes with the weights at each load; `undefined` where the family's program serves. */
  readonly weightlessBlocker: string | undefined;
  /** Whether the program had been compiled before. */
  readonly cached: boolean;
}

/** A session in a thread. */
export class ThreadSession implements OrtSessionInfo {
  readonly signature: Signature;
  readonly prepacked: boolean;
  readonly prepackedWeights: readonly string[];
  readonly foldedWeights: readonly string[];
  readonly weightlessBlocker: string | undefined;
  readonly cached: boolean;
  readonly #thread: EngineThread;
  readonly #id: number;
  #released: Promise<void> | undefined;

  /** @param id of the session in its thread */
  constructor(
    thread: EngineThread,
    id: number,
    info: Pick<
      OrtSessionInfo,
      "signature" | "prepacked" | "prepackedWeights" | "foldedWeights" | "weightlessBlocker" | "cached"
    >,
  ) {
    this.#thread = thread;
    this.#id = id;
    this.signature = info.signature;
    this.prepacked = info.prepacked;
    this.prepackedWeights = info.prepackedWeights;
    this.foldedWeights = info.foldedWeights;
    this.weightlessBlocker = info.weightlessBlocker;
    this.cached = info.cached;
  }

  /** The thread that it lives in, and its number there. */
  get place(): { readonly thread: EngineThread; readonly id: number } {
    return { thread: this.#thread, id: this.#id };
  }

  /**
   * Keeps weights in the session's thread, to be fed with every run from now on; runs under way finish on the old ones.
   * @param tensors by input of the compiled program; `undefined` lets go of one
   * @throws EngineError `bad-input`, `released`
   */
  async hold(tensors: Readonly<Record<string, NumberTensor | undefined>>): Promise<void> {
    if (this.#released)
      throw new EngineError("released", "Cannot change the weights of a session that was released");
    // A copy, which goes over: the caller's memory stays the caller's.
    const copies = Object.fromEntries(
      Object.entries(tensors).map(([name, tensor]) => [
        name,
        tensor && { ...tensor, bytes: new Uint8Array(tensor.bytes) },
      ]),
    );
    const memory = Object.values(copies).flatMap((tensor) => (tensor ? [tensor.bytes.buffer] : []));
    await this.#thread.ask({ op: "hold", session: this.#id, tensors: copies }, memory);
  }

  async run(inputs: Tensors, options: RunOptions = {}): Promise<Tensors> {
    if (this.#released) throw new EngineError("released", "Cannot run a session that was released");
    options.signal?.throwIfAborted();
    requireFeeds(this.signature, inputs);
    const answer = this.#thread.ask({
      op: "run",
      session: this.#id,
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
    // A session whose engine was closed before it is gone already.
    if (this.#thread.ended) return;
    await this.#thread.ask({ op: "release", session: this.#id });
    this.#thread.sessions--;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}
