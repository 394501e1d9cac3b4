import { createSha256 } from "../node/sha256.ts";
import type { Store } from "../store/store.ts";
import type { CreateDigest, Digest } from "../tensor/digest.ts";
import { LocalBlobs } from "./local-blobs.ts";
import { LocalNames } from "./local-names.ts";
import { type OpenFolderOptions, openStoreFolder } from "./open-store-folder.ts";
import type { StorePaths } from "./store-paths.ts";

/** A store in a folder: an OCI image layout with models as names, whose files engines can map. */
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
   * Opens the store in a folder; unless `create` is false, creates one if the folder is empty or does not exist.
   * @throws StoreError `not-a-store`; FormatError `newer-version`
   */
  static async open(root: string, options: OpenFolderOptions = {}): Promise<LocalStore> {
    return new LocalStore(await openStoreFolder(root, options));
  }

  /** Absolute path of the folder: the root for {@link location}. */
  get name(): string {
    return this.paths.root;
  }

  /** Returns the absolute path of a blob, which may not exist. */
  blobPath(digest: Digest): string {
    return this.paths.blob(digest);
  }

  /** Returns the path of a blob relative to the store's folder, with `/`, for engines. */
  location(digest: Digest): string {
    return this.paths.location(digest);
  }
}
