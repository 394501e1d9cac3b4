/** Numbers that look random and are the same for the same seed: a case can be made again by its number alone. */
export class Random {
  #state: number;

  constructor(seed: string, nth: number) {
    let state = 0x811c9dc5 ^ nth;
    for (let at = 0; at < seed.length; at++) state = Math.imul(state ^ seed.charCodeAt(at), 0x01000193);
    this.#state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) ^ nth;
  }

  /** Any number of 32 bits, unsigned. */
  bits(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  }

  /** A whole number from 0 on, below a limit; 0 for a limit below 1. */
  below(limit: number): number {
    return limit < 1 ? 0 : this.bits() % limit;
  }

  /** Whether something happens that does so often, of one. */
  chance(often: number): boolean {
    return this.bits() < often * 2 ** 32;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  /** A few times, one at least: most often once. */
  times(most: number): number {
    let count = 1;
    while (count < most && this.chance(0.4)) count++;
    return count;
  }

  /** Another order. */
  shuffled<T>(list: readonly T[]): T[] {
    const all = [...list];
    for (let at = all.length - 1; at > 0; at--) {
      const other = this.below(at + 1);
      [all[at], all[other]] = [all[other] as T, all[at] as T];
    }
    return all;
  }
}
