import { expect, test } from "vitest";
import { locationOf } from "../../src/model/location-of.ts";
import type { Digest } from "../../src/tensor/digest.ts";

test("locationOf() finds a location, or names the weight and its user", () => {
  const digest: Digest = `sha256:${"0".repeat(64)}`;
  const location = { blob: digest, offset: 0, length: 4 };
  const use = { doing: 'link "base"', weight: "w" };
  expect(locationOf({ locations: new Map([[digest, location]]) }, digest, use)).toBe(location);
  expect(() => locationOf({ locations: new Map() }, digest, use)).toThrow(
    expect.objectContaining({
      name: "LinkError",
      code: "missing-weight",
      message: 'Cannot link "base": weight "w" has no location in the manifest',
      tensor: "w",
      digest,
    }),
  );
  const file = { doing: 'export "a.onnx"', path: "a.onnx", offset: 8 };
  expect(() => locationOf({ locations: new Map() }, digest, file)).toThrow(
    expect.objectContaining({
      message: `Cannot export "a.onnx": weight ${digest} has no location in the manifest`,
      path: "a.onnx",
      offset: 8,
    }),
  );
});
