import { expect, test } from "vitest";
import * as tare from "../src/index.ts";

test("the public surface grows only where this list does", () => {
  expect(Object.keys(tare).sort()).toMatchInlineSnapshot(`
    [
      "EngineError",
      "FormatError",
      "LinkError",
      "SourceError",
      "StoreError",
      "TareError",
      "UsageError",
      "defaultStorePath",
      "drawFamilyHtml",
      "drawFamilySvg",
      "joinSplit",
      "openStore",
      "tensorBytes",
      "tensorFromJson",
      "tensorToJson",
    ]
  `);
});
