import { type ChildProcess, fork } from "node:child_process";
import { EngineError, unpackError } from "../../errors.ts";
import type { Answers, Call, ProcessSettings, Reply, Request } from "./protocol.ts";

/** Number of characters of the engine's output that are kept for crash reports. */
const MAX_STDERR_TAIL_LENGTH = 2000;

/** Context of a call, for errors. */
export interface CallContext {
  readonly doing: "starting" | "loading" | "running";
  /** Name of the model; of the engine for a call without a model. */
  readonly model: string;
  readonly path?: string | undefined;
}

const VERBS = { loading: "load", running: "run" } as const;

/** Options of a call. */
export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onText?: ((text: string) => void) | undefined;
}

interface Pending extends AskOptions {
  readonly context: CallContext;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** The process that runs llama.cpp and all its models, so that native aborts do not end this process. */
export class EngineProcess {
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  readonly #pending = new Map<number, Pending>();
  #serial = 0;
  #held = 0;
  #stderrTail = "";
  #death: string | undefined;
  #ended = false;

  constructor(settings: ProcessSettings) {
    this.#child = fork(new URL("./child.js", import.meta.url), [JSON.stringify(settings)], {
      serialization: "advanced",
      execArgv: [],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      // A backtrace needs a debugger and takes seconds.
      env: { ...process.env, GGML_NO_BACKTRACE: "1" },
    });
    this.#child.on("message", (reply: Reply) => this.#settle(reply));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderrTail = (this.#stderrTail + text).slice(-MAX_STDERR_TAIL_LENGTH);
    });
    this.#closed = new Promise((resolve) => {
      this.#child.once("close", (code, signal) => {
        this.#die(signal ?? `exit code ${code}`);
        resolve();
      });
      this.#child.on("error", (error) => {
        if (this.#child.pid !== undefined) return;
        this.#die(error.message);
        resolve();
      });
    });
    this.#hold(0);
  }

  /** Whether it accepts calls. */
  get alive(): boolean {
    return this.#death === undefined && !this.#ended;
  }

  /** Its process id. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Sends a request. Rejects an aborted request with the signal's reason after the engine has stopped.
   * @throws the error of the process; EngineError `engine` if it died, `released` if it was ended
   */
  async ask<R extends Request>(
    request: R,
    context: CallContext,
    options: AskOptions = {},
  ): Promise<Answers[R["op"]]> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (!this.alive) throw this.#failure(context);
    const id = ++this.#serial;
    const abort = (): void => this.#send({ id, abort: true });
    this.#hold(1);
    try {
      return await new Promise<Answers[R["op"]]>((resolve, reject) => {
        this.#pending.set(id, { ...options, context, resolve, reject });
        this.#send({ id, request });
        signal?.addEventListener("abort", abort, { once: true });
      });
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#hold(-1);
    }
  }

  /** Ends the process and its models. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#hold(1);
    this.#child.kill("SIGKILL");
    await this.#closed;
  }

  /** Keeps this process alive only while a request is running. */
  #hold(by: 1 | 0 | -1): void {
    this.#held += by;
    const { channel, stderr } = this.#child;
    for (const handle of [this.#child, channel, stderr as { ref?(): void; unref?(): void } | null]) {
      if (this.#held > 0) handle?.ref?.();
      else handle?.unref?.();
    }
  }

  /** Sends a message. Requests that cannot be sent are rejected when the exit of the process is noticed. */
  #send(call: Call): void {
    this.#child.send(call, () => undefined);
  }

  #settle(reply: Reply): void {
    const waiting = this.#pending.get(reply.id);
    if (!waiting) return;
    if ("text" in reply) {
      try {
        waiting.onText?.(reply.text);
      } catch (error) {
        this.#pending.delete(reply.id);
        this.#send({ id: reply.id, abort: true });
        waiting.reject(error);
      }
      return;
    }
    this.#pending.delete(reply.id);
    if ("result" in reply) waiting.resolve(reply.result as never);
    else waiting.reject(waiting.signal?.aborted ? waiting.signal.reason : unpackError(reply.error, "engine"));
  }

  #die(how: string): void {
    const all = [...this.#pending.values()];
    const underway = all.map(({ context }) => `${context.doing} "${context.model}"`).join(", ");
    const lastLine = this.#stderrTail.trim().split("\n").at(-1) ?? "";
    this.#death = `${how}${underway && ` while ${underway}`}${lastLine && `: ${lastLine}`}`;
    this.#pending.clear();
    for (const { context, reject } of all) reject(this.#failure(context));
  }

  #failure({ doing, model, path }: CallContext): EngineError {
    const cannot = doing === "starting" ? `Cannot start ${model}` : `Cannot ${VERBS[doing]} "${model}"`;
    if (this.#ended) return new EngineError("released", `${cannot}: the engine was closed`, { path });
    const hint = "Load all models again: the crash ended every model of the engine";
    return new EngineError("engine", `${cannot}: llama.cpp crashed (${this.#death})`, { path, hint });
  }
}
