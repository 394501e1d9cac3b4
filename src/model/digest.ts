/** `sha256:` and 64 lower-case hexadecimal digits, as OCI writes it. */
export type Digest = `sha256:${string}`;

const PATTERN = /^sha256:[0-9a-f]{64}$/;

/** Narrows a string read from a file. */
export function isDigest(text: string): text is Digest {
  return PATTERN.test(text);
}

/** The 64 hexadecimal digits. */
export function digestHex(digest: Digest): string {
  return digest.slice("sha256:".length);
}

/** The digest as people read it: its first twelve digits. */
export function shortDigest(digest: Digest): string {
  return digestHex(digest).slice(0, 12);
}

/** Digest of bytes that are all in memory (programs, manifests); weights are hashed while they stream. */
export async function digestOf(bytes: Uint8Array): Promise<Digest> {
  // crypto.subtle is the one sha256 that Node and browsers share; it does not accept SharedArrayBuffer views.
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
  return `sha256:${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
