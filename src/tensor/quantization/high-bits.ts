/** The fifth bits of 32 elements, from the lowest up. */
export function highBits(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)
  );
}

/** Writes what {@link highBits} reads. */
export function setHighBits(out: Uint8Array, at: number, bits: number): void {
  for (let index = 0; index < 4; index++) out[at + index] = bits >>> (8 * index);
}
