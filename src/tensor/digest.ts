/** A sha256 in the form of OCI: `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = `sha256:${string}`;

/** An incremental sha256. */
export interface DigestStream {
  update(bytes: Uint8Array): void;
  /** Returns the digest and ends the stream. */
  digest(): Digest;
}

/** Starts an incremental sha256. Callers pass it in, since Node and browsers have different implementations. */
export type CreateDigest = () => DigestStream;

const PATTERN = /^sha256:[0-9a-f]{64}$/;

/** Whether a string is a digest. */
export function isDigest(text: string): text is Digest {
  return PATTERN.test(text);
}

/** Returns the 64 hexadecimal digits of a digest. */
export function digestHex(digest: Digest): string {
  return digest.slice("sha256:".length);
}
