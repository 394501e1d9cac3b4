import type { NativeSequence } from "./native.ts";

/** The sequences of a context. Each runs one generation at a time, and keeps the tokens that it has read. */
export class SequencePool {
  readonly #free: NativeSequence[];
  readonly #waiting: ((sequence: NativeSequence) => void)[] = [];

  constructor(sequences: readonly NativeSequence[]) {
    this.#free = [...sequences];
  }

  /** Takes the free sequence that shares the longest prefix with some tokens; waits if none is free. */
  async take(tokens: readonly number[], signal: AbortSignal): Promise<NativeSequence> {
    const shared = (sequence: NativeSequence): number =>
      sequence.compareContextTokens(tokens).firstDifferentIndex;
    const [first, ...others] = this.#free;
    if (first) {
      const best = others.reduce((most, each) => (shared(each) > shared(most) ? each : most), first);
      this.#free.splice(this.#free.indexOf(best), 1);
      return best;
    }
    return new Promise((resolve, reject) => {
      const take = (sequence: NativeSequence): void => {
        signal.removeEventListener("abort", leave);
        resolve(sequence);
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(take), 1);
        reject(signal.reason as Error);
      };
      this.#waiting.push(take);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** Returns a sequence, and passes it to the caller that has waited longest. */
  give(sequence: NativeSequence): void {
    const next = this.#waiting.shift();
    if (next) next(sequence);
    else this.#free.push(sequence);
  }
}
