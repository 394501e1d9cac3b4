import { StoreError } from "../errors.ts";
import { type Descriptor, encodeJson } from "../model/manifest.ts";
import { manifestBlobs } from "../model/stored-model.ts";
import type { Digest } from "../tensor/digest.ts";
import { readManifest } from "./choose-manifest.ts";
import type { BlobRef, Lease, StagedBlob, Store, StoredManifest, TagOptions } from "./store.ts";

/** Number of attempts: a collection may remove blobs that a writer found in the store. */
const MAX_ATTEMPTS = 4;

/**
 * Runs a transaction on a store, and repeats it if a blob that it relied on was removed. Discards blobs without a name
 * when `write` returns or throws.
 * @param write writes blobs and names them; `attempt` counts from 1
 * @throws the errors of `write`; StoreError `missing-blob` after 4 attempts
 */
export async function transact<T>(
  store: Store,
  write: (transaction: Transaction, attempt: number) => Promise<T>,
): Promise<T> {
  await using transaction = await Transaction.begin(store);
  for (let attempt = 1; ; attempt++) {
    try {
      return await write(transaction, attempt);
    } catch (error) {
      const vanished = error instanceof StoreError && error.code === "missing-blob";
      if (!vanished || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

/**
 * The only way to add models to a store: lease → write → sync → name. The store stays consistent in each of these
 * cases:
 *
 * - *Killed before the name is given*: no name refers to the blobs. The lease has no owner, so the next writer removes
 *   its unfinished files and the next collection its blobs.
 * - *Power lost*: {@link Lease.sync} makes every blob durable before the name is written, so that a durable name refers
 *   to durable blobs only.
 * - *A concurrent collection*: it keeps blobs that a living lease may have committed, but may remove blobs that this
 *   writer found in the store. {@link Names.tag} checks every blob while no collection can run, and throws
 *   `missing-blob`; {@link transact} then writes again.
 * - *A write fails*: disposing the transaction discards the new blobs, except those that another model uses by then.
 */
export class Transaction implements AsyncDisposable {
  readonly #store: Store;
  readonly #lease: Lease;
  readonly #fresh = new Map<Digest, number>();
  readonly #checked = new Set<Digest>();
  #kept = false;

  private constructor(store: Store, lease: Lease) {
    this.#store = store;
    this.#lease = lease;
  }

  /** Begins a transaction, which ends when it is disposed. Most writers call {@link transact} instead. */
  static async begin(store: Store): Promise<Transaction> {
    return new Transaction(store, await store.blobs.lease());
  }

  /** New blobs of this transaction, with their sizes in bytes. */
  get fresh(): ReadonlyMap<Digest, number> {
    return this.#fresh;
  }

  /** Size of the new blobs, in bytes. */
  get freshBytes(): number {
    return [...this.#fresh.values()].reduce((sum, size) => sum + size, 0);
  }

  /** Records a blob that this transaction or one of its threads committed, or compared with its bytes. */
  note({ digest, size, fresh }: BlobRef & { readonly fresh: boolean }): void {
    this.#checked.add(digest);
    if (fresh) this.#fresh.set(digest, size);
  }

  /** Stages a blob, and records it when it is committed. */
  async stage(chunks: AsyncIterable<Uint8Array>): Promise<StagedBlob> {
    const staged = await this.#store.blobs.stage(chunks);
    const { digest, size } = staged;
    return {
      digest,
      size,
      commit: async (expected) => {
        const fresh = await staged.commit(expected);
        this.note({ digest, size, fresh });
        return fresh;
      },
      [Symbol.asyncDispose]: () => staged[Symbol.asyncDispose](),
    };
  }

  /** Stores a JSON document, unless the store has it. */
  async put(mediaType: string, document: unknown): Promise<Descriptor> {
    const bytes = encodeJson(document);
    const hash = this.#store.createDigest();
    hash.update(bytes);
    const descriptor = { mediaType, digest: hash.digest(), size: bytes.byteLength };
    if (await this.#store.blobs.has(descriptor, { full: true })) {
      this.#checked.add(descriptor.digest);
      return descriptor;
    }
    await using staged = await this.stage(once(bytes));
    await staged.commit(descriptor.digest);
    return descriptor;
  }

  /**
   * Makes the committed blobs durable. A caller may free, remove or report their content only after this.
   */
  async sync(): Promise<void> {
    await this.#lease.sync();
  }

  /**
   * Names the written model: the last step.
   * @returns digest of the manifest that the name refers to; it is an older one if the name already had this model
   * @throws the errors of {@link Names.tag}
   */
  async name(name: string, model: StoredManifest, options: TagOptions = {}): Promise<Digest> {
    await this.#checkKept(name, model, options);
    const digest = await this.commit(() => this.#store.names.tag(name, model, options));
    if (digest !== model.descriptor.digest) {
      await this.discard(this.#fresh.keys());
      this.#fresh.clear();
    }
    return digest;
  }

  /**
   * Hashes the blobs of the manifest that a name may keep, except those that this transaction hashed. A damaged one loses its
   * seal, and so the name gets the new manifest.
   */
  async #checkKept(
    name: string,
    { descriptor, manifest }: StoredManifest,
    options: TagOptions,
  ): Promise<void> {
    const kept = await this.#store.names.resolve(name);
    if (kept === undefined || kept === descriptor.digest) return;
    const known = await readManifest(this.#store, kept);
    if (known?.config.digest !== manifest.config.digest) return;
    for (const blob of manifestBlobs(known)) {
      if (this.#checked.has(blob.digest)) continue;
      await this.#store.blobs.has(blob, { full: true, signal: options.signal });
    }
  }

  /**
   * Syncs, then gives names. The written blobs are kept from then on.
   * @param giveNames gives all names or none; returns `undefined` for none
   */
  async commit<T>(giveNames: () => Promise<T>): Promise<T> {
    await this.sync();
    const named = await giveNames();
    this.#kept ||= named !== undefined;
    return named;
  }

  /** Removes blobs that are not in use. */
  async discard(digests: Iterable<Digest>): Promise<void> {
    await this.#lease.discard(digests);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      // Ignore a failure here: a collection removes the blobs later, and the error of the writer matters more.
      if (!this.#kept && this.#fresh.size > 0) await this.discard(this.#fresh.keys()).catch(() => undefined);
    } finally {
      await this.#lease[Symbol.asyncDispose]();
    }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
