/** Appends little-endian numbers and bytes to memory that grows. */
export class ByteWriter {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** Number of bytes written so far. */
  get length(): number {
    return this.#length;
  }

  uint8(value: number): void {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
  }

  uint16(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
  }

  uint32(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
  }

  /** @param value an integer that is not negative */
  uint64(value: number | bigint): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  bytes(value: Uint8Array): void {
    const at = this.#grow(value.byteLength);
    this.#bytes.set(value, at);
  }

  /** Writes the length of bytes as u64, then the bytes. */
  sized(value: Uint8Array): void {
    this.uint64(value.byteLength);
    this.bytes(value);
  }

  /** Writes zeros up to a multiple of `alignment`. */
  pad(alignment: number): void {
    this.#grow((alignment - (this.#length % alignment)) % alignment);
  }

  /** Returns a copy of all written bytes. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** Reserves `length` bytes. @returns their offset */
  #grow(length: number): number {
    const start = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.byteLength) {
      const longer = new Uint8Array(Math.max(this.#length, this.#bytes.byteLength * 2));
      longer.set(this.#bytes);
      this.#bytes = longer;
      this.#view = new DataView(longer.buffer);
    }
    return start;
  }
}
