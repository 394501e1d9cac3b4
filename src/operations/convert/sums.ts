import { createHash } from "node:crypto";
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

/** The MD5 of tensor caches' shards. */
export class Md5 implements Sum {
  readonly #hash = createHash("md5");

  /** Of what was taken in so far, 32 digits. */
  get hex(): string {
    return this.#hash.copy().digest("hex");
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }
}
