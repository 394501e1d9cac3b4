import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { Checksum, Checksums } from "../../formats/lay-out.ts";

/** The checksums of container formats, computed by Node. */
export const CHECKSUMS: Checksums = {
  crc32: () => new Crc32(),
  md5: () => new Md5(),
};

class Crc32 implements Checksum<number> {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  update(bytes: Uint8Array): void {
    this.#value = crc32(bytes, this.#value);
  }
}

class Md5 implements Checksum<string> {
  readonly #hash = createHash("md5");

  get value(): string {
    return this.#hash.copy().digest("hex");
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }
}
