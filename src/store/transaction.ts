import { StoreError } from "../errors.ts";
import { type Descriptor, encodeJson } from "../model/manifest.ts";
import type { Digest } from "../tensor/digest.ts";
import type { BlobRef, Lease, StagedBlob, Store, StoredManifest, TagOptions } from "./store.ts";

/** A collection may remove blobs that a writer found stored; more than a few times in a row is not chance. */
const MAX_ATTEMPTS = 4;

/**
 * Writes into a store through a transaction, and once more where a blob vanished that it relied on. What is not named
 * when `write` returns or throws is discarded.
 * @param write writes blobs and gives them a name; `attempt` counts from 1
 * @throws what `write` throws; StoreError `missing-blob` after 4 attempts
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
 * The one way in which models get into a store: lease → write → sync → name. Every order of events leaves a whole store:
 *
 * - *Killed before the name is given*: the blobs are there and nothing refers to them. The lease has lost its owner, so
 *   the next writer sweeps its unfinished files and the next collection removes its blobs.
 * - *Power lost*: {@link Lease.sync} makes every blob durable before the name is written, so that no durable name refers
 *   to a blob that is not.
 * - *A collection runs meanwhile*: it keeps what any living lease may have committed, but may remove what this writer
 *   found stored and did not write. {@link Names.tag} looks at every blob while no collection can run, and refuses
 *   with `missing-blob`; {@link transact} then writes once more.
 * - *A write fails*: disposing the transaction discards the blobs that the store did not have, unless another model needs
 *   them by now.
 */
export class Transaction implements AsyncDisposable {
  readonly #store: Store;
  readonly #lease: Lease;
  readonly #fresh = new Map<Digest, number>();
  #kept = false;

  private constructor(store: Store, lease: Lease) {
    this.#store = store;
    this.#lease = lease;
  }

  /** Begins one, for as long as it is not disposed. Most writers call {@link transact} instead. */
  static async begin(store: Store): Promise<Transaction> {
    return new Transaction(store, await store.blobs.lease());
  }

  /** Blobs that the store did not have, with their sizes in bytes. */
  get fresh(): ReadonlyMap<Digest, number> {
    return this.#fresh;
  }

  /** What {@link fresh} takes, in bytes. */
  get freshBytes(): number {
    return [...this.#fresh.values()].reduce((sum, size) => sum + size, 0);
  }

  /** Takes note of a blob that was committed, by this or by a thread. */
  note({ digest, size, fresh }: BlobRef & { readonly fresh: boolean }): void {
    if (fresh) this.#fresh.set(digest, size);
  }

  /** Takes a blob's bytes as they come; what it then commits is noted. */
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

  /** Stores a JSON document; a document that the store has is not written again. */
  async put(mediaType: string, document: unknown): Promise<Descriptor> {
    const bytes = encodeJson(document);
    const hash = this.#store.createDigest();
    hash.update(bytes);
    const descriptor = { mediaType, digest: hash.digest(), size: bytes.byteLength };
    if (await this.#store.blobs.has(descriptor)) return descriptor;
    await using staged = await this.stage(once(bytes));
    await staged.commit(descriptor.digest);
    return descriptor;
  }

  /**
   * Makes durable what was committed so far: only after this may a caller free, remove or report what the blobs hold.
   */
  async sync(): Promise<void> {
    await this.#lease.sync();
  }

  /**
   * Names a model that was written: the last step.
   * @returns the manifest that the name stands for: another one where the name had this model, packed in another way
   * @throws what {@link Names.tag} throws
   */
  async name(name: string, model: StoredManifest, options: TagOptions = {}): Promise<Digest> {
    const digest = await this.commit(() => this.#store.names.tag(name, model, options));
    if (digest !== model.descriptor.digest) {
      await this.discard(this.#fresh.keys());
      this.#fresh.clear();
    }
    return digest;
  }

  /**
   * Syncs, then gives names. What was written is kept from then on.
   * @param giveNames names all or nothing of it; `undefined` says that it gave none
   */
  async commit<T>(giveNames: () => Promise<T>): Promise<T> {
    await this.sync();
    const named = await giveNames();
    this.#kept ||= named !== undefined;
    return named;
  }

  /** Removes blobs that nothing needs. */
  async discard(digests: Iterable<Digest>): Promise<void> {
    await this.#lease.discard(digests);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      // What cannot be removed now is left to a collection: the reason to roll back says more than this failure.
      if (!this.#kept && this.#fresh.size > 0) await this.discard(this.#fresh.keys()).catch(() => undefined);
    } finally {
      await this.#lease[Symbol.asyncDispose]();
    }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
