/** `sha256:` and 64 lower-case hexadecimal digits, as OCI writes it. */
export type Digest = `sha256:${string}`;

/** A sha256 that is computed as bytes pass. */
export interface DigestStream {
  update(bytes: Uint8Array): void;
  /** Ends it. */
  digest(): Digest;
}

/** Starts a sha256. Whoever needs one is handed this: what can hash in pieces differs from Node to browsers. */
export type CreateDigest = () => DigestStream;

const PATTERN = /^sha256:[0-9a-f]{64}$/;

/** Narrows a string read from a file. */
export function isDigest(text: string): text is Digest {
  return PATTERN.test(text);
}

/** The 64 hexadecimal digits. */
export function digestHex(digest: Digest): string {
  return digest.slice("sha256:".length);
}
