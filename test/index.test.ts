import { expect, test } from "vitest";
import * as tare from "../src/index.ts";

test("the public surface grows only where this list does", () => {
  expect(Object.keys(tare).sort()).toMatchInlineSnapshot(`
    [
      "BlobConflictError",
      "BlobService",
      "EngineError",
      "FormatError",
      "LinkError",
      "NamedDataError",
      "SourceError",
      "StoreError",
      "TareError",
      "UsageError",
      "createSha256",
      "defaultStorePath",
      "detachInPlace",
      "draftNamedData",
      "drawFamilyHtml",
      "drawFamilySvg",
      "externalize",
      "hashWeight",
      "joinSplit",
      "mapWeights",
      "memoryNamedData",
      "memorySink",
      "memorySource",
      "mergeNamedData",
      "openCompiled",
      "openFileSource",
      "openFolderSink",
      "openHttpModel",
      "openHttpSource",
      "openModelData",
      "openStore",
      "parsePartitionRule",
      "readWeights",
      "requireNamedData",
      "shardNamedData",
      "streamWeights",
      "tensorBytes",
      "tensorFromJson",
      "tensorToJson",
    ]
  `);
});
