import { createSha256 } from "../node/sha256.ts";
import type { Store } from "../store/store.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";
import { LocalBlobs } from "./local-blobs.ts";
import { LocalNames } from "./local-names.ts";
import { openStoreFolder, type StorePaths } from "./store-paths.ts";

/** A store in a folder: an OCI image layout whose names are models, and files that engines map. */
export class LocalStore implements Store {
  readonly paths: StorePaths;
  readonly createDigest: CreateDigest = createSha256;
  readonly blobs: LocalBlobs;
  readonly names: LocalNames;

  protected constructor(paths: StorePaths) {
    this.paths = paths;
    this.blobs = new LocalBlobs(paths);
    this.names = new LocalNames(paths);
  }

  /**
   * Opens the store in a folder; makes one where there is nothing.
   * @throws StoreError `not-a-store`; FormatError `newer-version`
   */
  static async open(root: string): Promise<LocalStore> {
    return new LocalStore(await openStoreFolder(root));
  }

  /** Its folder, which engines resolve {@link location} against. Absolute. */
  get name(): string {
    return this.paths.root;
  }

  /** The file of a blob, whether it is there or not. Absolute. */
  blobPath(digest: Digest): string {
    return this.paths.blob(digest);
  }

  /** The same relative to the store's folder, with `/`: what engines are given. */
  location(digest: Digest): string {
    return this.paths.location(digest);
  }
}
