/** Passes on text up to the first of some stop texts, and holds back what may be the start of one. */
export class StopFilter {
  readonly #stops: readonly string[];
  #held = "";
  #hit = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Whether a stop text came; nothing passes after it. */
  get hit(): boolean {
    return this.#hit;
  }

  /** Takes a piece of text and gives what is sure to come before any stop text. */
  push(text: string): string {
    if (this.#hit) return "";
    this.#held += text;
    const ends = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    this.#hit = ends.length > 0;
    const sure = this.#hit ? Math.min(...ends) : this.#held.length - this.#startOfStop();
    const passed = this.#held.slice(0, sure);
    this.#held = this.#hit ? "" : this.#held.slice(sure);
    return passed;
  }

  /** Gives what was held back, when no more text comes. */
  end(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** How many characters at the end may be the start of a stop text. */
  #startOfStop(): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, this.#held.length); length > 0; length--) {
      const end = this.#held.slice(-length);
      if (this.#stops.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }
}
