/** Passes text on up to the first stop text. Holds text back that may be the start of a stop text. */
export class StopFilter {
  readonly #stops: readonly string[];
  #held = "";
  #hit = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Whether a stop text occurred; no text passes after it. */
  get hit(): boolean {
    return this.#hit;
  }

  /** Adds a piece of text, and returns the text that cannot be part of a stop text. */
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

  /** Returns the text that was held back, at the end of the text. */
  end(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** Number of characters at the end that may be the start of a stop text. */
  #startOfStop(): number {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, this.#held.length); length > 0; length--) {
      const end = this.#held.slice(-length);
      if (this.#stops.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }
}
