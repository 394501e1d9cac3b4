import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { isEncoded, createDecoder } from "../io/byte-encoding.ts";
import { SourceError, StoreError } from "../errors.ts";
import type { Digest } from "../tensor/digest.ts";
import { fileError, identityOf, sameIdentity } from "../node/file-source.ts";
import type {
  Candidate,
  IngestJob,
  IngestPart,
  IngestResult,
  IngestSetup,
  BundledPart,
} from "./ingest-job.ts";
import { sha256 } from "../node/sha256.ts";
import { commitBlobSync, isWholeSync, unsealSync } from "./commit-blob.ts";
import { hashRange, isEqual, OpenRange } from "./open-range.ts";
import { sourceChanged } from "./require-unchanged.ts";

/** Bytes per read. A part that fits into one read is hashed before it is written. */
const CHUNK = 4 * 1024 * 1024;
/** Alignment of weights in a bundle, in bytes: a cache line, which suits the vector loads of every engine. */
const BUNDLE_ALIGNMENT = 64;
/** Bytes of a candidate that are compared before the range is hashed. */
const PROBE_BYTES = 64 * 1024;

/**
 * Hashes ranges of files and makes blobs of them. Synchronous, with a buffer of 4 MiB: each thread has one. Bytes of a
 * new weight are read once, and hashed and written in the same pass.
 */
export class Ingester {
  readonly #setup: IngestSetup;
  readonly #progress: BigInt64Array;
  readonly #buffer = new Uint8Array(CHUNK);
  readonly #files = new Map<string, number>();
  #serial = 0;
  readonly #id: number;

  /** @param id prefix of the names of temporary files, different for each thread */
  constructor(setup: IngestSetup, id: number) {
    this.#setup = setup;
    this.#progress = new BigInt64Array(setup.progress);
    this.#id = id;
  }

  run(job: IngestJob): IngestResult {
    const [only] = job.parts;
    if (only && job.parts.length === 1 && !job.bundle) {
      const known = this.#known(only, job.candidates);
      if (known) return known;
    }
    return this.#write(job);
  }

  close(): void {
    for (const fd of this.#files.values()) closeSync(fd);
    this.#files.clear();
  }

  /** Hashes a range without writing it, and returns the result if the store has it. */
  #known(part: IngestPart, candidates: readonly Candidate[]): IngestResult | undefined {
    if (isEncoded(part)) return undefined;
    const fd = this.#open(part);
    const found =
      part.length > CHUNK ? candidates.find((each) => this.#looksLike(fd, part, each)) : undefined;
    if (part.length > CHUNK && !found) return undefined;
    const hash = createHash("sha256");
    let read = 0;
    let last: Uint8Array = new Uint8Array(0);
    using twin = found && new OpenRange(found);
    for (const chunk of this.#chunks(fd, part)) {
      hash.update(chunk);
      twin?.compare(chunk, read);
      read += chunk.byteLength;
      last = chunk;
    }
    const hex = hash.digest("hex");
    const place = this.#placeOf(hex, part.length);
    if (place) {
      // Compare whatever is known, since a blob can rot and keep its seal.
      const compared = twin?.isAt(place) ? twin.equal : undefined;
      if (compared ?? (last.byteLength === read ? isEqual(place, last) : hashRange(place, read) === hex)) {
        return { digest: `sha256:${hex}`, size: read, bundled: [], fresh: false, inside: place.inside };
      }
      unsealSync(place.path);
    }
    Atomics.sub(this.#progress, 0, BigInt(read));
    return undefined;
  }

  /** Finds where the store has a weight, as far as seals tell. */
  #placeOf(hex: string, length: number): (Candidate & { readonly inside: boolean }) | undefined {
    const inside = this.#setup.inside.get(hex);
    if (inside) return { ...inside, inside: true };
    const path = join(this.#setup.blobs, hex);
    return isWholeSync(path, length) ? { path, offset: 0, inside: false } : undefined;
  }

  #looksLike(fd: number, part: IngestPart, candidate: Candidate): boolean {
    let other: number;
    try {
      other = openSync(candidate.path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    } catch {
      return false;
    }
    try {
      const ours = this.#buffer.subarray(0, Math.min(PROBE_BYTES, part.length));
      const theirs = new Uint8Array(ours.byteLength);
      if (readSync(fd, ours, 0, ours.byteLength, part.offset) !== ours.byteLength) return false;
      if (readSync(other, theirs, 0, theirs.byteLength, candidate.offset) !== theirs.byteLength) return false;
      return Buffer.compare(ours, theirs) === 0;
    } finally {
      closeSync(other);
    }
  }

  #write({ parts, bundle }: IngestJob): IngestResult {
    const temporary = join(this.#setup.temporary, `${this.#id}-${this.#serial++}`);
    const fd = openSync(temporary, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
    let placed = false;
    try {
      const whole = createHash("sha256");
      let size = 0;
      const append = (bytes: Uint8Array): void => {
        writeAllSync(fd, bytes, temporary);
        whole.update(bytes);
        size += bytes.byteLength;
      };
      const twins = new Map<Digest, BundledPart>();
      const bundled: BundledPart[] = [];
      for (const part of parts) {
        if (bundle) bundled.push(this.#bundled(part, size, twins, append));
        else {
          if (part.padding) append(new Uint8Array(part.padding));
          const check = part.digest && createHash("sha256");
          for (const bytes of this.#plain(part)) {
            append(bytes);
            check?.update(bytes);
          }
          if (check && `sha256:${check.digest("hex")}` !== part.digest) throw damaged(part);
        }
      }
      const hex = whole.digest("hex");
      const digest: Digest = `sha256:${hex}`;
      const inside = parts.length === 1 && !bundle ? this.#setup.inside.get(hex) : undefined;
      if (inside) {
        // No candidate matched, so the range was written before its digest was known.
        if (hashRange(inside, size) === hex) return { digest, size, bundled: [], fresh: false, inside: true };
        unsealSync(inside.path);
      }
      const blob = join(this.#setup.blobs, hex);
      const rotten = isWholeSync(blob, size) && hashRange({ path: blob, offset: 0 }, size) !== hex;
      const fresh = commitBlobSync(fd, temporary, blob, rotten);
      placed = true;
      return { digest, size, bundled, fresh, inside: false };
    } catch (error) {
      // Reads throw typed errors: a system error comes from a write.
      throw error instanceof Error && "code" in error && "syscall" in error
        ? fileError(temporary, "write", error)
        : error;
    } finally {
      closeSync(fd);
      if (!placed) rmSync(temporary, { force: true });
    }
  }

  /** Appends a small part, aligned, unless the bundle has an equal part. */
  #bundled(
    part: IngestPart,
    size: number,
    twins: Map<Digest, BundledPart>,
    append: (bytes: Uint8Array) => void,
  ): BundledPart {
    const bytes = Buffer.concat([...this.#plain(part)].map((chunk) => chunk.slice()));
    const digest = sha256(bytes);
    const twin = twins.get(digest);
    if (twin) return twin;
    const padding = (BUNDLE_ALIGNMENT - (size % BUNDLE_ALIGNMENT)) % BUNDLE_ALIGNMENT;
    append(new Uint8Array(padding));
    append(bytes);
    const result = { digest, offset: size + padding, length: bytes.byteLength };
    twins.set(digest, result);
    return result;
  }

  /** Yields the decoded bytes of a part; a chunk is valid until the next one. */
  *#plain(part: IngestPart): Generator<Uint8Array> {
    const fd = this.#open(part);
    const decoder = createDecoder(part, part.path, part.offset);
    if (!decoder) {
      yield* this.#chunks(fd, part);
      return;
    }
    // A varint of one byte may decode to eight bytes: smaller chunks limit the size of the decoded ones.
    for (const chunk of this.#chunks(fd, part, CHUNK / 8)) yield decoder.decode(chunk);
    decoder.end();
  }

  *#chunks(fd: number, part: IngestPart, most = CHUNK): Generator<Uint8Array> {
    for (let at = part.offset, end = part.offset + part.length; at < end; ) {
      const read = readSync(fd, this.#buffer, 0, Math.min(most, end - at), at);
      if (read === 0) {
        throw new SourceError("short-read", `Cannot read "${part.path}" at ${at}: it became shorter`, {
          path: part.path,
          offset: at,
        });
      }
      if (Atomics.load(this.#progress, 1) !== 0n)
        throw new SourceError("io", `Stopped reading "${part.path}"`);
      at += read;
      Atomics.add(this.#progress, 0, BigInt(read));
      yield this.#buffer.subarray(0, read);
    }
  }

  #open({ path, identity }: IngestPart): number {
    const open = this.#files.get(path);
    if (open !== undefined) return open;
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    } catch (cause) {
      throw fileError(path, "open", cause);
    }
    this.#files.set(path, fd);
    if (!sameIdentity(identityOf(fstatSync(fd)), identity)) throw sourceChanged(path);
    return fd;
  }
}

function damaged({ path, digest, offset }: IngestPart): StoreError {
  return new StoreError("corrupted", `Cannot move weight ${digest}: its bytes do not have this digest`, {
    path,
    digest,
    offset,
    hint: "Add the model's original files again: tare add replaces damaged blobs",
  });
}

function writeAllSync(fd: number, bytes: Uint8Array, path: string): void {
  for (let written = 0; written < bytes.byteLength; ) {
    try {
      written += writeSync(fd, bytes, written, bytes.byteLength - written);
    } catch (cause) {
      throw fileError(path, "write", cause);
    }
  }
}
