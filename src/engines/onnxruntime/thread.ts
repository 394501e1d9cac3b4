import { Worker } from "node:worker_threads";
import { EngineError, type TareError, unpackError } from "../../errors.ts";
import type { Answers, Call, Reply, Request } from "./protocol.ts";

/** A thread that runs the engine, and handles requests in order. */
export class EngineThread {
  readonly #worker: Worker;
  readonly #pending = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: unknown) => void }
  >();
  readonly #ready: Promise<void>;
  #serial = 0;
  #held = 0;
  #failure: TareError | undefined;
  /** Number of sessions in this thread. */
  sessions = 0;
  ended = false;

  constructor() {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url));
    this.#ready = new Promise((resolve, reject) => {
      this.#worker.once("message", () => {
        this.#worker.on("message", (reply: Reply) => this.#settle(reply));
        resolve();
      });
      this.#worker.once("error", (cause) => {
        this.#fail(notLoaded(cause));
        reject(this.#failure);
      });
    });
    this.#ready.catch(() => undefined);
    this.#worker.once("exit", () =>
      this.#fail(new EngineError("engine", "Cannot use ONNX Runtime: its thread ended")),
    );
    this.#worker.unref();
  }

  /**
   * Sends a request.
   * @param transfer memory that is transferred to the thread without a copy
   * @throws the error of the thread
   */
  async ask<R extends Request>(request: R, transfer: readonly ArrayBuffer[] = []): Promise<Answers[R["op"]]> {
    this.#hold(1);
    try {
      await this.#ready;
      if (this.#failure) throw this.#failure;
      const id = ++this.#serial;
      return await new Promise<Answers[R["op"]]>((resolve, reject) => {
        this.#pending.set(id, { resolve, reject });
        const call: Call = { id, request };
        this.#worker.postMessage(call, transfer);
      });
    } finally {
      this.#hold(-1);
    }
  }

  /** Ends the thread and its sessions. */
  async end(): Promise<void> {
    this.ended = true;
    await this.#worker.terminate();
  }

  /** Keeps the process alive only while a request is running. */
  #hold(by: 1 | -1): void {
    this.#held += by;
    if (this.#held > 0) this.#worker.ref();
    else this.#worker.unref();
  }

  #settle(reply: Reply): void {
    const waiting = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if ("error" in reply) waiting?.reject(unpackError(reply.error, "engine"));
    else waiting?.resolve(reply.result as never);
  }

  #fail(error: TareError): void {
    this.#failure ??= error;
    for (const waiting of this.#pending.values()) waiting.reject(this.#failure);
    this.#pending.clear();
  }
}

function notLoaded(cause: unknown): EngineError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") {
    return new EngineError("no-engine", "Cannot load ONNX Runtime: onnxruntime-node is not installed", {
      cause,
      hint: "Install it: npm install onnxruntime-node",
    });
  }
  return new EngineError("no-engine", "Cannot load ONNX Runtime", {
    cause,
    hint: "Check that onnxruntime-node has a build for this platform",
  });
}
