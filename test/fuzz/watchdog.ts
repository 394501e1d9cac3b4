import { Worker } from "node:worker_threads";

/** What a watchdog looks after. */
export interface WatchOptions {
  /** What is said of a case, with `#` for its number: how to run just that one. */
  readonly rerun: string;
  /** A case that takes longer than this hangs; no case takes a hundredth of it. In milliseconds. */
  readonly hangs: number;
  /** What the process may grow by, in bytes. */
  readonly grows: number;
  /** What is said is added to this file; otherwise it goes to stderr, and the process ends. */
  readonly report?: string;
}

/** Words of the memory that the two threads share. */
const Shared = { beat: 0, number: 1, kind: 2, reported: 3, words: 4 } as const;

/**
 * The other thread: the one that reads is of no use while it hangs or fills the memory, and takes the process with it.
 */
const WATCHER = `
const { workerData } = require("node:worker_threads");
const { appendFileSync, writeSync } = require("node:fs");
const { shared, kinds, rerun, hangs, grows, report } = workerData;
const words = new Int32Array(shared);
const start = process.memoryUsage.rss();
let beat = -1;
let since = Date.now();
setInterval(() => {
  const now = Atomics.load(words, ${Shared.beat});
  const grown = process.memoryUsage.rss() - start;
  if (now !== beat) {
    beat = now;
    since = Date.now();
  }
  const hung = now !== 0 && Date.now() - since > hangs;
  if (!hung && grown < grows) return;
  const name = kinds[words[${Shared.kind}]] + "-" + words[${Shared.number}];
  const what = hung ? "hangs" : "makes the process grow by " + grown + " bytes";
  const text = "Case " + name + " " + what + ". Run it alone: " + rerun.replace("#", name) + "\\n";
  if (report) appendFileSync(report, text);
  else {
    writeSync(2, text);
    process.kill(process.pid, "SIGKILL");
  }
  Atomics.store(words, ${Shared.reported}, 1);
  process.exit();
}, 100);
`;

/** Watches cases as they run, from another thread. */
export class Watchdog {
  readonly #words: Int32Array;
  readonly #kinds: readonly string[];
  readonly #worker: Worker;

  /** @param kinds of cases: with a number, each is the name of one */
  constructor(kinds: readonly string[], options: WatchOptions) {
    const shared = new SharedArrayBuffer(4 * Shared.words);
    this.#words = new Int32Array(shared);
    this.#kinds = kinds;
    this.#worker = new Worker(WATCHER, { eval: true, workerData: { shared, kinds, ...options } });
    this.#worker.unref();
  }

  /** A case begins. */
  begin(kind: string, number: number): void {
    Atomics.store(this.#words, Shared.kind, this.#kinds.indexOf(kind));
    Atomics.store(this.#words, Shared.number, number);
    Atomics.add(this.#words, Shared.beat, 1);
  }

  /** Whether it found something to report; told even to a thread that hangs. */
  get reported(): boolean {
    return Atomics.load(this.#words, Shared.reported) === 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}
