import { crc32 } from "node:zlib";
import type { Sum } from "./layout.ts";

/** The CRC-32 of zip archives. */
export class Crc32 implements Sum {
  #value = 0;

  /** Of what was taken in so far, 0 to 2^32 - 1. */
  get value(): number {
    return this.#value;
  }

  update(bytes: Uint8Array): void {
    this.#value = crc32(bytes, this.#value);
  }
}
