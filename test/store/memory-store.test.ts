import { createSha256 } from "../../src/node/sha256.ts";
import { memoryStore } from "../../src/store/memory-store.ts";
import { describeStore } from "../support/store-compliance.ts";

describeStore("memoryStore()", async () => memoryStore({ createDigest: createSha256 }));
